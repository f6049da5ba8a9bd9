import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.groups import Group, Piece
from fedcomp.shrink.pruning.heads import attention_heads
from fedcomp.shrink.pruning.scores import norms
from fedcomp.shrink.pruning.sensitivity import SHARES, sensitivities
from shrink.module_kit import loss, made, material


def network(dead):
    """Two branches of 8 units, and weights behind the branch ``dead`` that are almost zero."""
    module = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    with torch.no_grad():
        module[2].weight[:, 8 * dead : 8 * dead + 8] *= 1e-3
    return module


def branches():
    units = np.arange(8)
    places = units, units + 8
    pieces = [(Piece("0.weight", 0, each, units), Piece("0.bias", 0, each, units)) for each in places]
    return [Group(str(number), 8, each) for number, each in enumerate(pieces)]


def measured(module, groups, given, padding=0, seed=0):
    return sensitivities(module, groups, norms(module, groups), given, padding, np.random.default_rng(seed))


def rows(count=40):
    return Material(np.random.default_rng(3).standard_normal((count, 4)).astype(np.float32), None, "public", loss)


@pytest.mark.parametrize("dead", [0, 1])
def test_what_nothing_listens_to_moves_no_answer(dead):
    found = measured(network(dead), branches(), rows())
    assert found.shape == (2, len(SHARES))
    assert found[dead].max() < 1e-4 < found[1 - dead].min()
    assert (np.diff(found, axis=1) >= 0).all()


def test_it_is_the_mean_divergence_from_what_the_module_answers():
    module, given = network(0), rows()
    found = measured(module, branches(), given)[1, 1]
    weights = norms(module, branches())[1]
    silent = torch.from_numpy(8 + np.sort(np.argsort(-weights, kind="stable")[4:]))
    with torch.no_grad():
        inputs = torch.from_numpy(given.inputs)
        hidden = torch.relu(module[0](inputs))
        hidden[:, silent] = 0
        truth, cut = module(inputs).softmax(1), module[2](hidden).log_softmax(1)
        expected = (truth * (truth.log() - cut)).sum(1).mean()
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_answers_that_stand_for_padding_do_not_count():
    module, given = made("transformer"), material("transformer", count=8)
    groups = attention_heads(module)
    given.targets[:, 2:] = 0
    plain = measured(module, groups, given, padding=0)
    other = given.targets.copy()
    other[:, 2:] = 19
    everything = measured(module, groups, Material(given.inputs, other, "public", loss), padding=0)
    assert not np.allclose(plain, everything)
    assert np.isfinite(plain).all()


def test_the_module_is_left_as_it_came_and_rows_are_needed():
    module = network(0)
    before = [each.clone() for each in module.parameters()]
    measured(module, branches(), rows())
    assert all(torch.equal(*pair) for pair in zip(before, module.parameters(), strict=True))
    with pytest.raises(ShrinkError, match="rows to learn from, got 0"):
        measured(module, branches(), rows(0))
