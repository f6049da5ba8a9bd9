"""Quantization-aware training."""

import copy

import numpy as np
import pytest
import torch
from distillation_kit import material, perceptron, seeded, sharp, vectors
from torch import nn

from fedcomp.runtimes.onnx_runtime import OnnxRuntime
from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation import distillation_loss
from fedcomp.shrink.quantization_aware import QuantizationAware, rounded
from fedcomp.threads import single_thread

TEACHER = sharp(perceptron(24, seed=1)).requires_grad_(False)
ROWS, NEW = torch.from_numpy(vectors()), torch.from_numpy(vectors(500, 5))


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def train(module: nn.Module, seed: int = 0, **options) -> nn.Module:
    step = QuantizationAware(**{"batch_size": 30} | options)
    return step.apply(copy.deepcopy(module).requires_grad_(), material(TEACHER), np.random.default_rng(seed))


def unbalanced() -> nn.Module:
    """The teacher with hidden units of very different scales: the same answers, and int8 has one scale for them all."""
    module = copy.deepcopy(TEACHER).requires_grad_()
    scales = torch.from_numpy(np.exp(np.random.default_rng(0).uniform(0, np.log(300), 24)).astype(np.float32))
    with torch.no_grad():
        module[0].weight.mul_(scales[:, None])
        module[0].bias.mul_(scales)
        module[2].weight.div_(scales)
    return module


def rounded_loss(module: nn.Module, weight_bits: int = 8) -> float:
    """Return how far the module's answers are from the teacher's when it is run with rounded numbers."""
    twin = copy.deepcopy(module)
    with rounded(twin, weight_bits, 8, momentum=0.0), torch.no_grad():
        twin.train()(ROWS)
        return float(distillation_loss(twin.eval()(NEW), TEACHER(NEW), 1.0))


def on_grid(weight: torch.Tensor, bits: int) -> bool:
    steps = weight / (weight.abs().flatten(1).amax(1) / (2 ** (bits - 1) - 1)).reshape(-1, *[1] * (weight.ndim - 1))
    return bool((steps - steps.round()).abs().max() < 1e-3)


def test_training_undoes_much_of_what_rounding_to_eight_bits_spoils():
    module = unbalanced()
    torch.testing.assert_close(module(NEW), TEACHER(NEW), rtol=1e-3, atol=1e-3)
    assert rounded_loss(module) > 1.5 * rounded_loss(train(module))


def test_four_bits_of_weights_lose_less_after_training_than_before():
    trained = train(TEACHER, weight_bits=4, learning_rate=2e-3, epochs=40)
    assert rounded_loss(trained, weight_bits=4) < 0.7 * rounded_loss(TEACHER, weight_bits=4)


@pytest.mark.slow
def test_onnx_runtime_computes_in_int8_what_was_trained_for_it():
    if (command := OnnxRuntime().missing()) is not None:
        pytest.skip(f"ONNX Runtime is not installed: {command}")

    def loss(module: nn.Module) -> float:
        program = OnnxRuntime().open(OnnxRuntime().build(module, vectors(), "int8-static"))
        return float(distillation_loss(torch.from_numpy(program(vectors(500, 5))), TEACHER(NEW), 1.0))

    module = unbalanced()
    assert loss(module) > 1.3 * loss(train(module))


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_what_comes_back_is_the_plain_module_with_weights_on_the_grid(bits):
    trained = train(TEACHER, weight_bits=bits, epochs=1)
    assert [type(layer) for layer in trained] == [type(layer) for layer in TEACHER]
    assert trained.state_dict().keys() == TEACHER.state_dict().keys()
    assert all(on_grid(layer.weight, bits) for layer in (trained[0], trained[2]))
    assert not on_grid(TEACHER[0].weight, bits)
    assert not any(layer._forward_pre_hooks for layer in trained)
    assert not trained.training
    again = copy.deepcopy(trained)
    with rounded(again, bits, 8):
        pass
    torch.testing.assert_close(again[0].weight, trained[0].weight, rtol=1e-5, atol=1e-7)


def test_equal_generators_give_equal_bits_and_all_else_is_left_alone():
    module, step = unbalanced(), QuantizationAware(epochs=1)
    before, state = module[0].weight.detach().clone(), torch.get_rng_state()
    first, second, third = (
        step.apply(module, material(TEACHER), np.random.default_rng(seed))[2].weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert torch.equal(module[0].weight, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_activations_behind_a_relu_use_the_whole_unsigned_grid_and_others_hold_zero():
    seen = {}
    module = perceptron(5)
    with rounded(module, 8, 3, momentum=0.0), torch.no_grad():
        for layer in (module[0], module[2]):
            layer.register_forward_pre_hook(lambda layer, inputs: seen.update({layer: inputs[0]}))
        module.train()(ROWS)
    for layer, lowest in ((module[2], 0.0), (module[0], -float("inf"))):
        levels = seen[layer].unique()
        step = levels.diff().min()
        assert levels[-1] - levels[0] == pytest.approx(7 * step.item())
        assert levels[0] >= lowest
        assert 0 in levels


def test_ranges_follow_the_batches_and_stay_in_eval_mode():
    layer = nn.Sequential(nn.Linear(1, 1))
    seen = []
    with rounded(layer, 8, 8, momentum=0.75), torch.no_grad():
        layer[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].item()))
        for value, mode in ((100.0, False), (1.0, True), (5.0, True), (100.0, False)):
            layer.train(mode)(torch.tensor([[value]]))
    assert seen == pytest.approx([100.0, 1.0, 2.0, 2.0])  # not seen yet; at its end; 0.75 * 1 + 0.25 * 5; unmoved


def test_gradients_pass_straight_through_inside_of_the_range_and_not_outside():
    layer = nn.Sequential(nn.Linear(2, 1, bias=False))
    with rounded(layer, 8, 8):
        layer.train()(torch.tensor([[1.0, -1.0]]))
        rows = torch.tensor([[0.3, 7.0]], requires_grad=True)
        layer.eval()(rows).sum().backward()
        weight = layer[0].weight.detach().clone()
    torch.testing.assert_close(rows.grad, weight * torch.tensor([[1.0, 0.0]]))


def test_tied_weights_stay_tied_and_a_channel_of_zeros_stays_zero():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    nn.init.zeros_(module[0].weight[1])
    with rounded(module, 4, 8):
        pass
    assert torch.equal(module[0].weight, module[2].weight)
    assert not module[0].weight[1].any()
    assert torch.isfinite(module[0].weight).all()


def test_convolutions_are_rounded_a_channel_at_a_time():
    module = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(27, 2)))
    with rounded(module, 3, 8):
        pass
    assert on_grid(module[0].weight, 3)
    assert all(len(channel.abs().unique()) <= 4 for channel in module[0].weight)


def test_a_module_with_nothing_to_round_is_refused():
    with (
        pytest.raises(ShrinkError, match="with convolutions or linear layers to round, got one without"),
        rounded(nn.ReLU(), 8, 8),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight_bits": 9}, r"weight_bits must be in 2..8, got 9"),
        ({"activation_bits": 1}, r"activation_bits must be in 2..8, got 1"),
        ({"range_momentum": 1.0}, r"range_momentum must be in \[0, 1\), got 1.0"),
        ({"temperature": 0.0}, "temperature must be greater than 0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        QuantizationAware(**options)


def test_its_config_names_it_and_it_reads_what_it_is_given():
    step = QuantizationAware(weight_bits=4)
    assert (step.config()["id"], step.config()["weight_bits"]) == ("quantization-aware", 4)
    assert step.touches(material(TEACHER, data="private")) == "private"
