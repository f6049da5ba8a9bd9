"""Per-example clipping: every engine against single examples, and what one example can do to the sum."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.grad_sample.linear import compute_linear_norm_sample
from private_kit import (
    Tied,
    cross_entropy,
    frozen_front,
    linear,
    network,
    perceptron,
    rows,
    rule,
    seeded,
    without_bias,
)
from torch import nn

from fedcomp.training.clipping import GhostClipping, HookClipping, pieces, usable_rows
from fedcomp.training.linear_clipping import LinearClipping
from fedcomp.training.opacus_parts import _linear_norms
from fedcomp.training.probe import clip_rows, example_gradients
from fedcomp.training.vmap_clipping import VmapClipping

MODELS = {
    GhostClipping: (linear, network),
    HookClipping: (linear, network),
    VmapClipping: (linear, network),
    LinearClipping: (linear, frozen_front, without_bias),
}
PAIRS = [
    pytest.param(engine, make, id=f"{engine.name}-{make.__name__}")
    for engine, makes in MODELS.items()
    for make in makes
]
every_engine = pytest.mark.parametrize(("engine_type", "make"), PAIRS)
EXTREMES = {
    "a million": 1e6,
    "beyond float32 squares": 1e25,
    "infinity": np.inf,
    "NaN": np.nan,
    "zero": 0.0,
    "tiny": 1e-30,
}


def clipped_sum(engine_type, module, inputs, targets, pieces=1, **changes) -> list[torch.Tensor]:
    engine = engine_type(copy.deepcopy(module), cross_entropy, rule(**changes))
    for some in np.array_split(np.arange(len(inputs)), pieces):
        engine.accumulate(torch.from_numpy(inputs[some]), torch.from_numpy(targets[some]))
    return engine.clipped_sum()


def by_single_examples(module, inputs, targets, max_grad_norm=0.5) -> list[torch.Tensor]:
    gradients = example_gradients(module, cross_entropy, torch.from_numpy(inputs), torch.from_numpy(targets))
    return clip_rows(gradients, max_grad_norm)


def distance(left, right) -> float:
    return float(torch.cat([(a - b).flatten() for a, b in zip(left, right, strict=True)]).double().norm())


@every_engine
def test_agrees_with_single_examples(engine_type, make):
    module, split = make(), rows()
    expected = by_single_examples(module, split.inputs, split.targets)
    found = clipped_sum(engine_type, module, split.inputs, split.targets)
    assert distance(found, expected) <= 1e-5
    unclipped = by_single_examples(module, split.inputs, split.targets, max_grad_norm=1e9)
    assert distance(found, unclipped) > 0.1  # so that the agreement above says something about clipping


@pytest.mark.parametrize("engine_type", [HookClipping, VmapClipping])
def test_tied_weights_are_clipped_as_single_examples_are(engine_type):
    module, split = seeded(Tied), rows()
    expected = by_single_examples(module, split.inputs, split.targets)
    assert distance(clipped_sum(engine_type, module, split.inputs, split.targets), expected) <= 1e-5


@every_engine
def test_does_not_depend_on_pieces_or_order(engine_type, make):
    module, split = make(), rows()
    whole = clipped_sum(engine_type, module, split.inputs, split.targets)
    in_pieces = clipped_sum(engine_type, module, split.inputs[::-1].copy(), split.targets[::-1].copy(), pieces=6)
    assert distance(whole, in_pieces) <= 1e-5


@every_engine
@pytest.mark.parametrize("extreme", EXTREMES)
def test_one_record_moves_the_sum_by_at_most_the_bound(engine_type, make, extreme):
    module, split = make(), rows()
    inputs = split.inputs.copy()
    inputs[7] = EXTREMES[extreme]
    others = np.arange(len(inputs)) != 7
    everybody = clipped_sum(engine_type, module, inputs, split.targets)
    without = clipped_sum(engine_type, module, inputs[others], split.targets[others])
    assert distance(everybody, without) <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize("engine_type", [GhostClipping, HookClipping, VmapClipping])
def test_a_record_that_overflows_inside_the_model_counts_as_zero(engine_type):
    module, split = network(), rows()
    with torch.no_grad():
        module[1].weight.mul_(1e30)  # finite inputs, infinite activations for large ones
        split.inputs[:] *= 1e-30
    inputs = split.inputs.copy()
    inputs[3] = 1e9
    others = np.arange(len(inputs)) != 3
    everybody = clipped_sum(engine_type, module, inputs, split.targets)
    without = clipped_sum(engine_type, module, inputs[others], split.targets[others])
    assert all(torch.isfinite(each).all() for each in everybody)
    assert distance(without, [torch.zeros_like(each) for each in without]) > 0.1
    assert distance(everybody, without) <= 1e-6


def test_features_that_overflow_in_a_frozen_part_count_as_zero():
    module, split = frozen_front(), rows()
    module[0] = nn.Sequential(nn.Linear(12, 7))
    module[0].requires_grad_(False)
    module[0][0].weight.mul_(1e30)
    split.inputs[:] *= 1e-30
    inputs = split.inputs.copy()
    inputs[3] = 1e9
    others = np.arange(len(inputs)) != 3
    everybody = clipped_sum(LinearClipping, module, inputs, split.targets)
    assert all(torch.isfinite(each).all() for each in everybody)
    assert distance(everybody, clipped_sum(LinearClipping, module, inputs[others], split.targets[others])) == 0.0


@pytest.mark.parametrize("engine_type", MODELS)
@pytest.mark.parametrize(("inputs", "slope"), [(1e-25, 1e25), (1e-30, 1e30), (1e9, 1e-25), (1e-20, 1e4)])
def test_no_factor_of_a_norm_vanishes(engine_type, inputs, slope):
    """Squared in float32 one factor or the other is 0 or infinite, and a norm of 0 would clip nothing."""
    bound = 1e-7
    engine = engine_type(without_bias(), lambda outputs, _: slope * outputs[:, 0], rule(max_grad_norm=bound))
    engine.accumulate(torch.full((1, 12), inputs), torch.zeros(1, dtype=torch.int64))
    (total,) = engine.clipped_sum()
    norm = slope * inputs * 12**0.5
    assert float(total.double().norm()) == pytest.approx(min(norm, bound * norm / (norm + 1e-6)), rel=1e-5)


def over_positions() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Unflatten(1, (2, 2048)), nn.Linear(2048, 2048, bias=False), nn.Flatten()))


def over_pixels() -> nn.Module:
    layer = seeded(lambda: nn.Conv2d(1024, 455, 3, padding=1, bias=False))
    return nn.Sequential(nn.Unflatten(1, (1024, 2, 2)), layer, nn.Flatten())


@pytest.mark.parametrize("make", [over_positions, over_pixels])
@pytest.mark.parametrize("engine_type", [GhostClipping, HookClipping, VmapClipping])
def test_millions_of_values_are_not_measured_short(engine_type, make):
    """A norm that is summed in float32 is 8e-5 too small for a dense gradient, and what it lacks is not clipped."""
    slopes = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    module, inputs = make(), torch.randn(1, 4096, generator=torch.Generator().manual_seed(1))
    engine = engine_type(module, lambda outputs, _: outputs @ slopes[: outputs.shape[1]], rule())
    engine.accumulate(inputs, torch.zeros(1, dtype=torch.int64))
    (total,) = engine.clipped_sum()
    assert 0.5 * (1 - 1e-5) <= float(total.double().norm()) <= 0.5 * (1 + 1e-5)


def test_positions_that_cancel_are_clipped_by_what_is_left():
    """Opacus' norm of a linear layer over sequences is 0 for a gradient of norm 6: the negative control."""
    layer = nn.Linear(6, 6, bias=False)
    inputs = 1e4 * torch.randn(1, 1, 6, generator=torch.Generator().manual_seed(0)).repeat(1, 2, 1)
    inputs[:, 1, 0] += 0.25
    slopes = 10 * torch.ones(1, 2, 6)
    slopes[:, 1] *= -1
    gradient = torch.einsum("nti,ntj->nij", slopes.double(), inputs.double()).norm()
    (theirs,) = compute_linear_norm_sample(layer, [inputs], slopes).values()
    (ours,) = _linear_norms(layer, [inputs], slopes).values()
    assert float(ours) == pytest.approx(float(gradient), rel=1e-3)
    assert abs(float(theirs) - float(gradient)) > 0.5 * float(gradient)


@pytest.mark.parametrize("loss", ["squared error", "hinge", "weighted"])
def test_the_closed_form_holds_for_any_loss(loss):
    module, split = linear(), rows()
    losses = {
        "squared error": lambda outputs, targets: (outputs.sum(dim=1) - targets) ** 2,
        "hinge": lambda outputs, targets: nn.functional.multi_margin_loss(outputs, targets, reduction="none"),
        "weighted": lambda outputs, targets: cross_entropy(outputs, targets) * (1 + targets),
    }
    inputs, targets = torch.from_numpy(split.inputs), torch.from_numpy(split.targets)
    engine = LinearClipping(copy.deepcopy(module), losses[loss], rule())
    engine.accumulate(inputs, targets)
    expected = clip_rows(example_gradients(module, losses[loss], inputs, targets), 0.5)
    assert distance(engine.clipped_sum(), expected) <= 1e-5


@pytest.mark.parametrize("frozen", ["weight", "bias"])
@pytest.mark.parametrize("engine_type", MODELS)
def test_a_frozen_part_of_the_head_has_no_share_in_the_norm(engine_type, frozen):
    module, split = linear(), rows()
    getattr(module, frozen).requires_grad_(False)
    expected = by_single_examples(module, split.inputs, split.targets)
    found = clipped_sum(engine_type, module, split.inputs, split.targets)
    assert [each.shape for each in found] == [each.shape for each in expected]
    assert distance(found, expected) <= 1e-5


@pytest.mark.parametrize(
    "make",
    [
        network,
        perceptron,
        lambda: nn.Sequential(nn.Flatten()),
        lambda: type("Other", (nn.Linear,), {})(12, 3),  # may compute anything
    ],
)
def test_the_closed_form_is_for_linear_heads_alone(make):
    with pytest.raises(ValueError, match=r"one trainable nn\.Linear among layers without trainable parameters"):
        LinearClipping(make(), cross_entropy, rule())


def test_the_closed_form_refuses_features_with_more_dimensions():
    engine = LinearClipping(
        nn.Sequential(nn.Unflatten(1, (4, 3)), nn.Linear(3, 5), nn.Flatten()), cross_entropy, rule()
    )
    with pytest.raises(ValueError, match=r"features must be \[n, d\], got \[20, 4, 3\]"):
        engine.accumulate(torch.from_numpy(rows().inputs), torch.from_numpy(rows().targets))


@pytest.mark.parametrize("engine_type", [HookClipping, VmapClipping])
def test_gradients_that_take_much_memory_are_held_for_few_rows_at_a_time(engine_type, monkeypatch):
    module, split = network(), rows()
    whole = clipped_sum(engine_type, module, split.inputs, split.targets)
    values = sum(parameter.numel() for parameter in module.parameters())
    monkeypatch.setattr("fedcomp.training.clipping._GRADIENT_VALUES", 3 * values)
    held = [len(some) for some, _ in pieces(list(module.parameters()), torch.zeros(20, 12), torch.zeros(20))]
    assert held == [3] * 6 + [2]
    assert distance(whole, clipped_sum(engine_type, module, split.inputs, split.targets)) <= 1e-5
    monkeypatch.setattr("fedcomp.training.clipping._GRADIENT_VALUES", 1)
    assert distance(whole, clipped_sum(engine_type, module, split.inputs, split.targets)) <= 1e-5


def test_without_the_care_one_record_poisons_everything():
    module = network()
    inputs = rows().inputs.copy()
    inputs[7] = np.nan
    poisoned = by_single_examples(module, inputs, rows().targets)
    assert not any(torch.isfinite(each).all() for each in poisoned)


@pytest.mark.parametrize("engine_type", [GhostClipping, LinearClipping])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3), bound=st.floats(1e-3, 10.0))
def test_sensitivity_holds_for_any_data_and_bound(engine_type, seed, scale, bound):
    module, split = linear(), rows(6, seed)
    inputs = (split.inputs * scale).astype(np.float32)
    everybody = clipped_sum(engine_type, module, inputs, split.targets, max_grad_norm=bound)
    without = clipped_sum(engine_type, module, inputs[1:], split.targets[1:], max_grad_norm=bound)
    size = distance(everybody, [torch.zeros_like(each) for each in everybody])
    assert distance(everybody, without) <= bound * (1 + 1e-5) + 1e-6 * size  # the last: rounding of the sum itself


def test_a_plain_backward_in_ghost_mode_would_not_clip():
    """The negative control of the tests above: Opacus' own loss is what clips."""
    module, split = linear(), rows()
    engine = GhostClipping(module, cross_entropy, rule())
    outputs = engine._wrapped(torch.from_numpy(split.inputs).requires_grad_())
    cross_entropy(outputs, torch.from_numpy(split.targets)).sum().backward()
    clipped = clipped_sum(GhostClipping, linear(), split.inputs, split.targets)
    assert distance([p.grad for p in engine.parameters], clipped) > 1.0


@every_engine
def test_empty_batch_is_a_step_of_noise_alone(engine_type, make):
    module = make()
    before = [parameter.detach().clone() for parameter in module.parameters() if parameter.requires_grad]
    engine = engine_type(module, cross_entropy, rule(noise_multiplier=2.0))
    engine.accumulate(torch.zeros(0, 12), torch.zeros(0, dtype=torch.int64))
    engine.step()
    moved = [old - new for old, new in zip(before, engine.parameters, strict=True)]
    noise = np.random.default_rng(1)
    for each in moved:
        drawn = noise.standard_normal(tuple(each.shape), dtype=np.float32)
        np.testing.assert_allclose(each.detach().numpy(), 2.0 * 0.5 * drawn / 10, atol=1e-6)


@every_engine
def test_step_divides_by_the_public_size_and_starts_from_zero(engine_type, make):
    module, split = make(), rows()
    total = clipped_sum(engine_type, module, split.inputs, split.targets)
    before = [parameter.detach().clone() for parameter in module.parameters() if parameter.requires_grad]
    engine = engine_type(module, cross_entropy, rule(expected_batch_size=7.5))
    engine.accumulate(torch.from_numpy(split.inputs), torch.from_numpy(split.targets))
    engine.step()
    for old, new, gradient in zip(before, engine.parameters, total, strict=True):
        torch.testing.assert_close(new.detach(), old - gradient / 7.5)
    assert distance(engine.clipped_sum(), [torch.zeros_like(each) for each in before]) == 0.0


def test_momentum_is_that_of_sgd():
    module, split = linear(), rows()
    reference = copy.deepcopy(module)
    engine = GhostClipping(module, cross_entropy, rule(momentum=0.9))
    optimizer = torch.optim.SGD(reference.parameters(), lr=1.0, momentum=0.9)
    for _ in range(3):
        engine.accumulate(torch.from_numpy(split.inputs), torch.from_numpy(split.targets))
        engine.step()
        for parameter, gradient in zip(
            reference.parameters(), by_single_examples(reference, split.inputs, split.targets), strict=True
        ):
            parameter.grad = gradient / 10
        optimizer.step()
    assert distance(*([p.detach() for p in each.parameters()] for each in (module, reference))) <= 1e-5


@every_engine
def test_a_summed_loss_is_refused(engine_type, make):
    engine = engine_type(make(), lambda outputs, targets: cross_entropy(outputs, targets).sum(), rule())
    with pytest.raises(ValueError, match=r"one value an example, \[(20|1)\], got \[\]"):
        engine.accumulate(torch.from_numpy(rows().inputs), torch.from_numpy(rows().targets))


def test_usable_rows_looks_at_each_row_alone():
    inputs = torch.zeros(5, 2, 2)
    inputs[0, 0, 0], inputs[1, 1, 1], inputs[2, 0, 1], inputs[3, 1, 0] = np.nan, -np.inf, 2e9, 1e9
    assert usable_rows(inputs).tolist() == [False, False, False, True, True]
    assert usable_rows(torch.ones(2, 3, dtype=torch.int64)).tolist() == [True, True]


def test_three_dimensional_inputs_of_a_linear_layer():
    module = seeded(lambda: nn.Sequential(nn.Unflatten(1, (4, 3)), nn.Linear(3, 5), nn.Tanh(), nn.Flatten()))
    module.append(seeded(lambda: nn.Linear(20, 3)))
    split = rows()
    expected = by_single_examples(module, split.inputs, split.targets)
    assert distance(clipped_sum(GhostClipping, module, split.inputs, split.targets), expected) <= 1e-5
