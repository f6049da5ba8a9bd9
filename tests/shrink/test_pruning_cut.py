import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.pruning.cut import cut, example_of
from fedcomp.shrink.pruning.groups import Group, Piece

UNITS = np.arange(4)
ROW = torch.ones(1, 3)


def group(*pieces, units=4):
    return Group("units", units, tuple(Piece(*piece, UNITS, UNITS) for piece in pieces))


WHOLE = group(("0.weight", 0), ("0.bias", 0), ("2.weight", 1))


def layers():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_what_stays_is_what_was_there_in_its_order():
    module = layers()
    smaller = cut(module, [WHOLE], [np.array([0, 3])], ROW)
    assert torch.equal(smaller[0].weight, module[0].weight[[0, 3]])
    assert torch.equal(smaller[2].weight, module[2].weight[:, [0, 3]])
    assert (smaller[0].out_features, smaller[2].in_features, module[0].out_features) == (2, 2, 4)


def test_what_does_not_learn_still_does_not():
    module = layers()
    module[0].requires_grad_(False)
    smaller = cut(module, [WHOLE], [np.array([1])], ROW)
    assert [each.requires_grad for each in smaller.parameters()] == [False, False, True, True]


@pytest.mark.parametrize(
    ("of", "kept", "message"),
    [
        (group(("0.weight", 0), ("0.bias", 0)), [0], "layers of Sequential no longer fit together after the cut"),
        (WHOLE, [0, 1, 2, 3], "expected units to take away, got none"),
    ],
)
def test_cuts_that_leave_no_model_or_the_same_are_refused(of, kept, message):
    with pytest.raises(ShrinkError, match=message):
        cut(layers(), [of], [np.array(kept)], ROW)


def test_a_cut_that_takes_the_wrong_columns_is_found_out():
    crossed = Group("units", 4, (*WHOLE.pieces[:2], Piece("2.weight", 1, UNITS, UNITS[::-1])))
    with pytest.raises(ShrinkError, match="must not change what is left, got a change of"):
        cut(layers(), [crossed], [np.array([0])], ROW)


def test_a_tensor_that_two_layers_share_is_refused():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    with pytest.raises(ShrinkError, match=r"0\.weight and 1\.weight are one tensor"):
        cut(module, [group(("0.weight", 0))], [np.array([0])], torch.ones(1, 4))


def test_a_made_up_row_has_the_shape_and_kind_of_the_rows():
    assert example_of((2, 3), np.dtype(np.float16)).dtype == torch.float32
    assert example_of((2, 3), np.dtype(np.float32)).shape == (1, 2, 3)
    assert torch.equal(example_of((2,), np.dtype(np.int64)), torch.zeros(1, 2, dtype=torch.int64))
