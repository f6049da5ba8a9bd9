"""Narrower copies of models: what they keep, that they compute what they should, and what has none."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fedcomp.plan.narrow import NarrowError, narrow
from fedcomp.training import get_arrays, set_arrays

FLOATS = np.dtype(np.float32)


class Residual(nn.Module):
    """Images [n, 3, 8, 8]: a strided block with a shortcut, a depthwise layer, and a branch that is joined to it."""

    def __init__(self):
        super().__init__()
        self.stem, self.first = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, 2, padding=1)
        self.second, self.shortcut = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(6, 8, 1, 2)
        self.depthwise, self.scale = nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.Parameter(torch.ones(1))
        self.side = nn.Conv2d(6, 4, 1, 2, bias=False)
        self.head = nn.Linear(20, 5)

    def forward(self, rows):
        rows = functional.relu(self.stem(rows))
        found = functional.relu(self.scale * self.second(functional.relu(self.first(rows))) + self.shortcut(rows))
        found = torch.cat([functional.relu(self.depthwise(found)), self.side(rows)], dim=1)
        return self.head(found.mean(dim=(2, 3)))


class ChannelsLast(nn.Module):
    """Flattens an image position by position, so that a channel's values lie apart."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(16, 3)

    def forward(self, rows):
        return self.head(torch.relu(self.conv(rows)).movedim(1, -1).flatten(1))


def flattened():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)
    )


MODELS = {
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3)),
        (8,),
    ),
    "sigmoid": (lambda: nn.Sequential(nn.Linear(8, 6), nn.Sigmoid(), nn.Linear(6, 3)), (8,)),
    "one layer": (lambda: nn.Linear(8, 3), (8,)),
    "sequence": (
        lambda: nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)),
        (2, 9),
    ),
    "flattened": (flattened, (1, 10, 10)),
    "channels last": (ChannelsLast, (1, 4, 4)),
    "residual": (Residual, (3, 8, 8)),
}


@pytest.mark.parametrize("width", [0.25, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("name", MODELS)
def test_a_narrower_model_computes_what_the_whole_one_does_with_the_rest_at_zero(name, width):
    make, shape = MODELS[name]
    whole = make().eval()
    found = narrow(whole, width, shape, FLOATS)
    arrays, module = get_arrays(whole), found.module().eval()
    set_arrays(module, found.slices.take(arrays))
    rest = {key: np.zeros_like(array) for key, array in arrays.items()}
    for key, array in arrays.items():
        rest[key][found.slices.index(key, array)] = array[found.slices.index(key, array)]
    zeroed = make().eval()
    set_arrays(zeroed, rest)
    rows = torch.from_numpy(np.random.default_rng(3).normal(size=(5, *shape)).astype(np.float32))
    torch.testing.assert_close(module(rows), zeroed(rows), rtol=1e-5, atol=1e-5)
    sizes = [sum(array.size for array in get_arrays(each).values()) for each in (module, whole)]
    assert sizes[0] < sizes[1] or width == 1 or name == "one layer"


def test_the_first_channels_are_kept_and_the_whole_output():
    found = narrow(nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), 0.5, (8,), FLOATS).slices
    assert [axis.tolist() for axis in found.places["0.weight"]] == [[0, 1, 2], list(range(8))]
    assert found.shape("0.bias") == (3,)
    assert [axis.tolist() for axis in found.places["2.weight"]] == [[0, 1, 2], [0, 1, 2]]
    assert found.shape("2.bias") == (3,)


def test_inputs_behind_a_flattened_image_are_those_of_the_channels_that_are_kept():
    first = narrow(flattened(), 0.5, (1, 10, 10), FLOATS).slices.places["6.weight"][1]
    assert first.tolist() == list(range(27)), "three of six channels, of nine positions each, one after another"
    last = narrow(ChannelsLast(), 0.5, (1, 4, 4), FLOATS).slices.places["head.weight"][1]
    assert last.tolist() == [0, 1, 4, 5, 8, 9, 12, 13], "two of four channels at each of four positions"


def test_joined_branches_are_followed_to_where_they_end():
    places = narrow(Residual(), 0.5, (3, 8, 8), FLOATS).slices.places
    assert places["head.weight"][1].tolist() == [*range(8), 16, 17]
    assert places["depthwise.weight"][0].tolist() == list(range(8))
    assert len(places["depthwise.weight"][1]) == 1
    assert places["scale"][0].tolist() == [0]


def test_shares_are_rounded_up_so_that_no_layer_is_empty():
    found = narrow(nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)), 0.01, (8,), FLOATS)
    assert found.slices.shape("0.weight") == (1, 8)
    assert narrow(nn.Sequential(nn.Linear(8, 10), nn.Linear(10, 3)), 0.7, (8,), FLOATS).slices.shape("0.bias") == (7,)


def test_neither_weights_nor_the_module_matter_or_change():
    one, other = flattened(), flattened()
    before = get_arrays(one)
    places = [narrow(each, 0.5, (1, 10, 10), FLOATS).slices.places for each in (one, other)]
    assert all(
        np.array_equal(a, b) for name in places[0] for a, b in zip(places[0][name], places[1][name], strict=True)
    )
    assert all(np.array_equal(array, before[name]) for name, array in get_arrays(one).items())
    zeros = flattened()
    set_arrays(zeros, {name: np.zeros_like(array) for name, array in before.items()})
    assert narrow(zeros, 0.5, (1, 10, 10), FLOATS).slices.shape("6.weight") == (3, 27)


def test_what_is_not_trained_stays_whole():
    model = nn.Sequential(nn.Linear(8, 6).requires_grad_(False), nn.Linear(6, 4), nn.Linear(4, 3))
    found = narrow(model, 0.5, (8,), FLOATS)
    assert found.slices.shape("1.weight") == (2, 6)
    assert list(found.slices.places) == list(get_arrays(model))


def test_tokens_are_rows_too():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    assert narrow(model, 0.5, (2,), np.dtype(np.int64)).slices.shape("2.weight") == (3, 8)


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, rows):
        return self.one(rows) + self.two(rows)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 3)), "no inputs that stay"),
        (nn.Sequential(nn.Linear(8, 6), nn.Softmax(dim=1), nn.Linear(6, 3)), "no inputs that stay"),
        (nn.Sequential(nn.Linear(8, 6), nn.PReLU(6), nn.Linear(6, 3)), "cannot be run with fewer channels"),
        (TwoOutputs(), "its outputs depend on a layer before the last one, 'two', other than by it"),
        (nn.Sequential(nn.ReLU()), "no linear layer and no convolution"),
        (nn.Sequential(nn.Unflatten(1, (8, 1)), nn.Conv1d(8, 8, 1, groups=4), nn.Flatten(), nn.Linear(8, 2)), "groups"),
    ],
)
def test_a_model_without_a_narrower_copy_is_refused_and_why(model, said):
    with pytest.raises(NarrowError, match=said):
        narrow(model, 0.5, (8,), FLOATS)


@pytest.mark.parametrize("width", [0.0, 1.5, float("nan")])
def test_a_width_out_of_range_is_refused(width):
    with pytest.raises(ValueError, match=r"width must be in \(0, 1\]"):
        narrow(nn.Linear(8, 3), width, (8,), FLOATS)
