import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.pruning.patterns import Blocks, NofM
from fedcomp.shrink.pruning.weights import prunable
from shrink.module_kit import made, material

RNG = np.random.default_rng(0)


def masked(step, weight):
    module = nn.Linear(weight.shape[1], weight.shape[0])
    module.weight.data = weight
    return step.apply(module, material("perceptron"), RNG).weight.detach()


def test_the_largest_of_every_few_in_a_row_stay():
    weight = torch.tensor([[1.0, -4, 3, 2, 0.4, 0.1, 0.2, -0.3]])
    assert masked(NofM(), weight).tolist() == [[0.0, -4, 3, 0, pytest.approx(0.4), 0, 0, pytest.approx(-0.3)]]
    assert int(masked(NofM(1, 8), weight).count_nonzero()) == 1


@pytest.mark.parametrize(("n", "m"), [(2, 4), (4, 8), (1, 2)])
@pytest.mark.parametrize("kind", ["resnet", "gru", "transformer"])
def test_every_run_of_inputs_keeps_exactly_so_many(kind, n, m):
    module = made(kind)
    smaller = NofM(n, m).apply(module, material(kind), RNG)
    for name, weight in prunable(smaller):
        if weight.shape[1] % m:
            assert torch.equal(weight, module.get_parameter(name))
        else:
            runs = weight.detach().movedim(1, -1).reshape(-1, m)
            assert (runs.count_nonzero(dim=1) == n).all()


def test_blocks_stay_or_go_whole_and_the_strongest_stay():
    weight = torch.full((4, 6), 0.5)
    weight[2:, :3] = 1.0
    weight[0, 5] = 1.6  # its block's norm is above that of the blocks of 0.5, and below that of the ones
    expected = torch.zeros(4, 6)
    expected[2:, :3] = 1.0
    expected[:2, 3:] = weight[:2, 3:]
    assert torch.equal(masked(Blocks(0.5, height=2, width=3), weight), expected)


def test_a_block_that_sticks_out_counts_by_what_is_inside():
    found = masked(Blocks(0.25, height=4, width=4), torch.ones(5, 7))
    expected = torch.zeros(5, 7)
    expected[:4, :4] = 1.0
    assert torch.equal(found, expected)


@pytest.mark.parametrize("kind", ["resnet", "lstm"])
def test_tensors_of_any_shape_keep_about_their_share(kind):
    for _, weight in prunable(Blocks(0.5).apply(made(kind), material(kind), RNG)):
        assert 0 < int(weight.count_nonzero()) <= weight.numel()


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (NofM, {"n": 0}),
        (NofM, {"n": 4}),
        (NofM, {"m": 1}),
        (Blocks, {"density": 1.0}),
        (Blocks, {"height": 0}),
        (Blocks, {"width": 0}),
    ],
)
def test_options_out_of_range_are_refused_by_name(step, options):
    with pytest.raises(ValueError, match=r"must be|n=2 and m=1"):
        step(**options)


def test_models_without_such_layers_are_refused():
    with pytest.raises(ShrinkError, match="expected a layer whose inputs are a multiple of 4, got none"):
        NofM().apply(nn.Linear(6, 2), material("perceptron"), RNG)
    with pytest.raises(ShrinkError, match="expected layers that have weights"):
        Blocks().apply(nn.ReLU(), material("perceptron"), RNG)
