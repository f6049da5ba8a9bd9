"""DP-SGD of one client: what leaves, what it is said to cost, and that nothing else follows from the data."""

import dataclasses
from itertools import pairwise

import dp_accounting as dp
import numpy as np
import pytest
import torch
from private_kit import Tied, cross_entropy, draws, everyone, linear, network, rows, seeded
from scipy import stats
from torch import nn

from fedcomp.arrays import digest
from fedcomp.privacy.mechanism import PrivateUpdate
from fedcomp.privacy.sampling import PoissonSampler
from fedcomp.tasks.base import Split
from fedcomp.training import UnsupportedModel, get_arrays, train_private
from fedcomp.training.clipping import GhostClipping, HookClipping


def train(module: nn.Module, split: Split | None = None, sampler: PoissonSampler | None = None, **changes):
    split = rows() if split is None else split
    values = {
        "nominal_examples": 20,
        "max_grad_norm": 0.5,
        "noise_multiplier": 1.0,
        "learning_rate": 1.0,
    } | changes
    return train_private(module, split, loss=cross_entropy, sampler=sampler or everyone(split), **values)


def flat(update: PrivateUpdate) -> np.ndarray:
    return np.concatenate([array.ravel() for array in update.arrays.values()])


def test_event_is_what_was_done():
    sampler = PoissonSampler(20, 0.25, 3)
    update = train(linear(), sampler=sampler, noise_multiplier=2.0)
    inner = dp.PoissonSampledDpEvent(0.25, dp.GaussianDpEvent(2.0))
    assert update.event == dp.SelfComposedDpEvent(inner, 3) == sampler.event(2.0)


@pytest.mark.parametrize("changes", [{"noise_multiplier": 0.0}, {"draws": draws()}])
def test_no_noise_and_seeded_noise_are_not_private(changes):
    sampler = PoissonSampler(20, 0.25, 3)
    assert train(linear(), sampler=sampler, **changes).event == sampler.event(0.0)
    assert "NonPrivate" in repr(sampler.event(0.0))


def test_only_the_update_and_its_event_leave():
    update = train(linear())
    assert [field.name for field in dataclasses.fields(update)] == ["arrays", "event"]
    assert list(update.arrays) == ["weight", "bias"]


def test_module_is_left_as_it_was():
    module = network().eval()
    before, attributes = digest(get_arrays(module)), set(vars(module[1].weight))
    train(module)
    assert digest(get_arrays(module)) == before
    assert not module.training
    assert set(vars(module[1].weight)) == attributes
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in module.modules())
    train(module)  # and can be used again


def test_two_calls_never_share_noise_even_under_one_global_seed():
    updates = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            updates.append(flat(train(linear())))
    assert not np.isin(updates[0], updates[1]).any()


def test_steps_never_share_noise():
    module, split = linear(), rows(0)
    gaps = [flat(train(module, split, everyone(split, steps), draws=draws(5))) for steps in (1, 2, 3)]
    one, two = gaps[0], gaps[1] - gaps[0]
    assert np.abs(one - two).min() > 0
    assert np.abs(two - (gaps[2] - gaps[1])).min() > 0


@pytest.mark.parametrize("engine", [GhostClipping, HookClipping])
def test_noise_has_the_deviation_of_the_event(engine):
    """Chi-square on 39,000 values, false alarms one in a million; a tenth off is caught every time."""
    module, nothing = nn.Linear(3899, 10), np.zeros((0, 3899), np.float32)
    split = Split(nothing, np.zeros(0, np.int64), nothing)
    sampler = PoissonSampler(0, 0.3, 1)
    update = flat(train(module, split, sampler, engine=engine, noise_multiplier=3.0, nominal_examples=50))
    deviation = 3.0 * 0.5 / (0.3 * 50)

    def fits(values: np.ndarray) -> bool:
        low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(values))
        return low < float(np.sum((values / deviation) ** 2)) < high

    assert fits(update)
    assert not fits(update * 0.9)
    assert stats.kstest(update / deviation, "norm").pvalue > 1e-6


def test_empty_batches_count_and_are_noised():
    split = rows(0)
    update = train(linear(), split, everyone(split, steps=4))
    assert (flat(update) != 0).all()
    assert update.event.count == 4


@pytest.mark.parametrize("make", [linear, network, lambda: seeded(Tied)])
def test_agrees_with_single_examples_over_steps(make):
    module, split = make(), rows()
    ours = train(module, split, everyone(split, 3), noise_multiplier=0.0, rows_at_once=7)
    theirs = explicit(module, split, steps=3)
    assert np.abs(flat(ours) - theirs).max() <= 1e-5


def explicit(module: nn.Module, split: Split, steps: int) -> np.ndarray:
    """DP-SGD without noise, as the paper's pseudocode has it: one example at a time."""
    state = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    start = {name: value.clone() for name, value in state.items()}
    for _ in range(steps):
        total = {name: torch.zeros_like(value) for name, value in state.items()}
        for inputs, target in zip(split.inputs, split.targets, strict=True):
            leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
            outputs = torch.func.functional_call(module, leaves, torch.from_numpy(inputs[None]))
            loss = cross_entropy(outputs, torch.tensor([target])).sum()
            gradients = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
            norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients.values()))
            for name, gradient in gradients.items():
                total[name] += gradient * min(1.0, 0.5 / float(norm))
        state = {name: value - total[name] / 20 for name, value in state.items()}
    return np.concatenate([(state[name] - start[name]).numpy().ravel() for name in state])


def test_normaliser_does_not_follow_the_data():
    """The update of equal rows grows with their number; divided by the real number it would not."""
    few = Split(np.ones((5, 12), np.float32), np.zeros(5, np.int64), np.ones((5, 12), np.float32))
    many = few.take(np.zeros(15, np.int64))
    small, large = (flat(train(linear(), split, noise_multiplier=0.0)) for split in (few, many))
    np.testing.assert_allclose(large, 3 * small, rtol=1e-4)


def test_normaliser_may_be_a_fraction():
    split = rows()
    whole = flat(train(linear(), split, noise_multiplier=0.0))
    part = flat(train(linear(), split, noise_multiplier=0.0, nominal_examples=7.3))
    np.testing.assert_allclose(part, whole * 20 / 7.3, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e6])
def test_a_bad_record_neither_fails_nor_poisons(value):
    split = rows()
    others = split.take(np.arange(1, 20))
    split.inputs[0] = value
    with_it = flat(train(linear(), split, noise_multiplier=0.0))
    without = flat(train(linear(), others, noise_multiplier=0.0))
    assert np.linalg.norm(with_it - without) <= 0.5 / 20 * (1 + 1e-5)


def test_batches_are_poisson_and_differ_between_calls():
    """Sizes of 200 batches of Binomial(20, 0.5): their variance within 5 standard errors; a fixed size is caught."""

    sizes: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear()

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            sizes.append(len(inputs))
            return self.linear(inputs)

    for _ in range(2):
        train(Counting(), sampler=PoissonSampler(20, 0.5, 100), engine=GhostClipping)
    drawn = np.array(sizes)
    assert len(drawn) == 200

    def poisson(values: np.ndarray) -> bool:
        return bool(
            abs(values.var() - 5.0) < 5 * 5.0 * np.sqrt(2 / 200) and abs(values.mean() - 10) < 5 * np.sqrt(5 / 200)
        )

    assert poisson(drawn)
    assert not poisson(np.full(200, 10))
    assert (drawn[:100] != drawn[100:]).any()


def test_batch_norm_is_refused_by_layer():
    module = nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    with pytest.raises(UnsupportedModel, match=r"layer '1' \(BatchNorm1d\).*GroupNorm"):
        train(module)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampler": PoissonSampler(19, 0.5, 1)}, "sampler of another population"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be greater than 0 and finite, got 0.0"),
        ({"max_grad_norm": np.inf}, "max_grad_norm must be greater than 0 and finite, got inf"),
        ({"nominal_examples": 0}, "nominal_examples must be greater than 0 and finite, got 0"),
        ({"noise_multiplier": -1.0}, "noise_multiplier must be at least 0 and finite, got -1.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"rows_at_once": 0}, "rows_at_once must be greater than 0 and finite, got 0"),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        train(linear(), **changes)


def test_torch_generator_keeps_32_bits_of_a_seed():
    """Why noise does not come from it: the day that torch keeps them all, this test says so."""
    draws = [torch.randn(64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1 + 2**32)]
    assert torch.equal(*draws)
    secret = [np.random.Generator(np.random.Philox(key=key)).standard_normal(64) for key in (1, 1 + 2**32)]
    assert all(not np.array_equal(left, right) for left, right in pairwise(secret))
