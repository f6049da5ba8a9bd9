import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.allotment import work_of
from fedcomp.shrink.pruning.by_layer import ChannelsByLayer, HeadsByLayer
from fedcomp.shrink.pruning.channels import Channels, channel_groups
from fedcomp.shrink.pruning.cut import example_of
from shrink.module_kit import answers, loss, made, material, rows, size

pytest.importorskip("torch_pruning", reason="pip install 'fedcomp[edge]'")


def uneven():
    """Two hidden layers of 32 units; of the second, but a few matter."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    with torch.no_grad():
        module[0].weight *= torch.linspace(0.3, 3, 32)[:, None]
        module[4].weight *= 5
        module[4].weight[:, 4:] *= 1e-3
        module[2].weight[:4] *= 3  # so that their norms say it, too
    return module


def public(count=64):
    return Material(np.random.default_rng(1).standard_normal((count, 8)).astype(np.float32), None, "public", loss)


def multiplied(module):
    given = example_of((8,), np.dtype(np.float32))
    groups = channel_groups(module, given)
    return work_of(module, groups, given)([group.units for group in groups])


def test_a_layer_that_matters_little_loses_more_for_no_more_multiply_adds():
    module, given = uneven(), public()
    even = Channels(ratio=0.5, round_to=4).apply(module, given, np.random.default_rng(0))
    uneven_cut = ChannelsByLayer(ratio=0.5, round_to=4).apply(module, given, np.random.default_rng(0))
    assert multiplied(uneven_cut) <= multiplied(even)
    assert uneven_cut[2].out_features < 16 < uneven_cut[0].out_features

    def moved(smaller):
        return float(np.square(answers(smaller, given.inputs) - answers(module, given.inputs)).mean())

    assert moved(uneven_cut) < moved(even) / 2


def test_heads_and_hidden_units_of_a_transformer_get_ratios_of_their_own():
    module, given = made("transformer"), material("transformer")
    smaller = HeadsByLayer(ratio=0.6).apply(module, given, np.random.default_rng(0))
    assert size(smaller) < size(module)
    assert answers(smaller, rows("transformer")).shape == answers(module, rows("transformer")).shape
    assert all(layer.query.out_features >= 4 for layer in smaller.modules() if hasattr(layer, "head_width"))
    assert smaller.encoder[0].feed.wide.out_features % 8 == 0


@pytest.mark.parametrize("step", [ChannelsByLayer(), HeadsByLayer()])
def test_without_rows_or_units_it_is_refused(step):
    kind = "perceptron" if isinstance(step, ChannelsByLayer) else "transformer"
    empty = Material(rows(kind)[:0], None, "public", loss)
    with pytest.raises(ShrinkError, match="rows to learn from, got 0"):
        step.apply(made(kind), empty, np.random.default_rng(0))
    with pytest.raises(ShrinkError, match=f"{step.id}: expected layers with units to lose, got a Sequential"):
        step.apply(nn.Sequential(nn.ReLU()), public(), np.random.default_rng(0))


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"round_to": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ChannelsByLayer(**options)
