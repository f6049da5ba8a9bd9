import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.factored import Factored
from fedcomp.shrink.low_rank import LowRank
from shrink.module_kit import answers, made, material, rows, size

RNG = np.random.default_rng(0)
GIVEN = material("perceptron")


def thin(layer, rank):
    """Give a layer weights of this rank, with singular values 3, 2, 1, ..."""
    flat = layer.weight.detach().flatten(1)
    left, _, right = torch.linalg.svd(flat, full_matrices=False)
    values = torch.arange(rank, 0, -1.0)
    layer.weight.data = ((left[:, :rank] * values) @ right[:rank]).reshape(layer.weight.shape)
    return layer


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (nn.Linear(24, 20), (24,)),
        (nn.Linear(24, 20, bias=False), (5, 24)),
        (nn.Conv2d(8, 12, 3, stride=2, padding=1), (8, 9, 9)),
        (nn.Conv1d(8, 12, 3, dilation=2, padding_mode="circular", padding=2), (8, 9)),
        (nn.Conv2d(16, 16, 1), (16, 3, 3)),
    ],
)
@pytest.mark.parametrize("options", [{"energy": 0.999}, {"keep": 0.75}])
def test_a_layer_of_low_rank_is_replaced_without_a_change(layer, inputs, options):
    thin(layer, 3).eval()
    smaller = LowRank(**options).apply(layer, GIVEN, RNG)
    assert isinstance(smaller, Factored)
    assert smaller.rank == 3
    assert size(smaller) < size(layer)
    batch = torch.sin(torch.arange(2.0 * np.prod(inputs))).reshape(2, *inputs)
    torch.testing.assert_close(smaller(batch), layer(batch), rtol=1e-4, atol=1e-5)


def test_a_rank_is_the_least_that_keeps_the_energy():
    layer = thin(nn.Linear(24, 20), 3)  # energies 9, 4, 1 of 14
    assert [LowRank(energy).apply(layer, GIVEN, RNG).rank for energy in (0.6, 0.65, 0.92, 0.93)] == [1, 2, 2, 3]


def test_the_error_is_that_of_the_best_matrix_of_the_rank():
    layer = thin(nn.Linear(24, 20), 3)
    smaller = LowRank(0.9).apply(layer, GIVEN, RNG)
    assert float((smaller.weight - layer.weight).detach().norm()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("kind", ["perceptron", "resnet", "transformer"])
def test_a_budget_is_kept_and_used(kind, keep):
    module = made(kind)
    if kind == "transformer" and keep == 0.3:
        keep = 0.4
    smaller = LowRank(keep=keep).apply(module, material(kind), RNG)
    assert 0.7 * keep * size(module) < size(smaller) <= keep * size(module)
    assert answers(smaller, rows(kind)).shape == answers(module, rows(kind)).shape


def test_only_layers_that_get_smaller_are_replaced():
    module = nn.Sequential(thin(nn.Linear(24, 20), 3), nn.ReLU(), thin(nn.Linear(20, 4), 4))
    smaller = LowRank(0.999).apply(module, GIVEN, RNG)
    assert [type(layer) for layer in smaller] == [Factored, nn.ReLU, nn.Linear]


def test_a_second_time_pairs_stay_pairs():
    once = LowRank(0.5).apply(made("resnet"), material("resnet"), RNG)
    with pytest.raises(ShrinkError, match="expected a layer that two of lower rank are smaller than"):
        LowRank(0.5).apply(once, material("resnet"), RNG)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(ShrinkError, match=r"got none at 0\.9"):
        LowRank().apply(nn.Sequential(nn.Conv2d(8, 8, 3, groups=8)), GIVEN, RNG)
    with pytest.raises(ShrinkError, match=r"expected at most 5 parameters, got \d+ with every layer at rank 1"):
        LowRank(keep=0.01).apply(nn.Linear(24, 20), GIVEN, RNG)
    for options in ({"energy": 0}, {"energy": 1.0}, {"keep": 1.0}, {"keep": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be in"):
            LowRank(**options)
