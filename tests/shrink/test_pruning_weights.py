import zlib

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.weights import TaylorWeights, Weights, masked_copy, prunable
from shrink.module_kit import made, material

RNG = np.random.default_rng(0)


def density(module):
    weights = [weight for _, weight in prunable(module)]
    return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)


def packed(module):
    return len(zlib.compress(b"".join(value.numpy().tobytes() for value in module.state_dict().values())))


def test_the_largest_stay_as_they_are_and_the_others_are_zero():
    module = nn.Linear(4, 1)
    module.weight.data = torch.tensor([[0.1, -3.0, 2.0, -0.2]])
    assert Weights(0.5).apply(module, material("perceptron"), RNG).weight.tolist() == [[0.0, -3.0, 2.0, 0.0]]


@pytest.mark.parametrize("kind", ["resnet", "gru", "lstm", "transformer"])
def test_each_tensor_keeps_its_share_and_biases_all_they_have(kind):
    module = made(kind)
    smaller = Weights(0.25).apply(module, material(kind), RNG)
    masked = dict(prunable(smaller))
    for name, weight in smaller.named_parameters():
        if name in masked:
            assert int(weight.count_nonzero()) == max(1, round(0.25 * weight.numel()))
        else:
            assert torch.equal(weight, module.get_parameter(name))
    assert packed(smaller) < 0.6 * packed(module)


def test_global_scope_takes_the_share_of_all_together():
    module = made("perceptron")
    module[0].weight.data *= 100
    smaller = Weights(0.25, "global").apply(module, material("perceptron"), RNG)
    assert density(smaller) == pytest.approx(0.25, abs=0.002)
    assert density(smaller[0]) > 0.7
    assert not smaller[4].weight.any()


def test_weights_that_are_zero_already_go_first():
    module = made("perceptron")
    once = Weights(0.5).apply(module, material("perceptron"), RNG)
    for step in (Weights(0.25), TaylorWeights(0.25)):
        twice = step.apply(once, material("perceptron"), RNG)
        assert density(twice) == pytest.approx(0.25, abs=0.01)
        assert all(not b[a == 0].any() for (_, a), (_, b) in zip(prunable(once), prunable(twice), strict=True))


def test_taylor_keeps_what_the_loss_would_miss_whatever_its_size():
    module = nn.Linear(2, 1, bias=False)
    module.weight.data = torch.tensor([[1.0, 10.0]])
    inputs = np.array([[1.0, 0.01]], np.float32)
    given = Material(inputs, np.zeros(1, np.int64), "public", lambda outputs, _: outputs[:, 0])
    assert TaylorWeights(0.5).apply(module, given, RNG).weight.tolist() == [[1.0, 0.0]]
    assert Weights(0.5).apply(module, given, RNG).weight.tolist() == [[0.0, 10.0]]


def test_a_masked_copy_is_of_its_own():
    module = made("perceptron").train()
    smaller = masked_copy(module, {"0.weight": torch.zeros(32, 8, dtype=torch.bool)})
    assert not smaller[0].weight.any()
    assert module[0].weight.all()
    assert module.training
    assert not smaller.training


def test_modules_without_weights_and_options_out_of_range_are_refused():
    with pytest.raises(ShrinkError, match="expected layers that have weights, got a ReLU without"):
        Weights().apply(nn.ReLU(), material("perceptron"), RNG)
    for options in ({"density": 0.0}, {"density": 1.0}, {"scope": "all"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            Weights(**options)
