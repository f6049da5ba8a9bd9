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

from fedcomp.arrays import digest, subtract
from fedcomp.crypto import SecretStream
from fedcomp.privacy.mechanism import PrivateUpdate
from fedcomp.privacy.sampling import PoissonSampler
from fedcomp.tasks.base import Split
from fedcomp.training import Draws, UnsupportedModel, clipped_gradient_sum, get_arrays, train_private
from fedcomp.training.clipping import GhostClipping, HookClipping
from fedcomp.training.linear_clipping import LinearClipping
from fedcomp.training.vmap_clipping import VmapClipping

ENGINES = [LinearClipping, GhostClipping, VmapClipping, HookClipping]


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


def test_draws_are_not_private_whatever_they_are():
    """Nobody but the operating system may know what was drawn, and who hands a stream over may know it."""
    secret = Draws(batches=SecretStream(), noise=SecretStream())
    assert "NonPrivate" in repr(train(linear(), draws=secret).event)


def test_batches_and_noise_can_be_set_apart():
    split, sampler = rows(), PoissonSampler(20, 0.5, 3)
    noises = [
        flat(train(linear(), split, sampler, draws=Draws(draws(1).batches, draws(seed).noise))) for seed in (1, 2)
    ]
    silent = [
        flat(train(linear(), split, sampler, noise_multiplier=0.0, draws=Draws(draws(seed).batches, draws(9).noise)))
        for seed in (1, 1, 2)
    ]
    assert (noises[0] != noises[1]).all()
    assert np.array_equal(silent[0], silent[1])
    assert not np.allclose(silent[0], silent[2])


def test_equal_draws_give_equal_bits():
    assert np.array_equal(*(flat(train(network(), draws=draws(3))) for _ in range(2)))


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


@pytest.mark.parametrize("engine", ENGINES)
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


class Counted:
    """Counts what is drawn."""

    def __init__(self, inner) -> None:
        self.inner, self.calls = inner, 0

    def random(self, size=None):
        self.calls += 1
        return self.inner.random(size)

    def standard_normal(self, size=None, dtype=np.float64):
        self.calls += 1
        return self.inner.standard_normal(size, dtype)


@pytest.mark.parametrize("engine", ENGINES)
def test_empty_batches_among_others_change_neither_event_nor_number_of_draws(engine):
    """At this probability about half of the batches are empty: the seed has both kinds, as the first lines check."""
    sampler = PoissonSampler(20, 0.05, 12)
    empty = [not len(batch) for batch in sampler.batches(draws(2).batches)]
    assert 2 < sum(empty) < 10
    drawn = Draws(Counted(draws(2).batches), Counted(draws(2).noise))
    update = train(linear(), rows(), sampler, engine=engine, draws=drawn)
    assert (drawn.batches.calls, drawn.noise.calls) == (12, 12 * 2)
    assert train(linear(), rows(), sampler, engine=engine).event == sampler.event(1.0)
    # taken one by one, a step with an empty batch moves by its noise alone
    alone = PoissonSampler(20, 0.05, 1)
    again, module = draws(2), linear()
    noise, by_noise_alone = draws(2).noise, []
    for _ in empty:
        moved = train(module, rows(), alone, engine=engine, draws=again).arrays
        drawn_noise = {name: noise.standard_normal(array.shape, np.float32) for name, array in moved.items()}
        expected = {name: -0.5 * each / (0.05 * 20) for name, each in drawn_noise.items()}
        by_noise_alone.append(all(np.allclose(moved[name], expected[name], atol=1e-5) for name in moved))
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter += torch.from_numpy(moved[name])
    assert all(still for still, nobody in zip(by_noise_alone, empty, strict=True) if nobody)
    assert not all(by_noise_alone)
    total = flat(PrivateUpdate(subtract(get_arrays(module), get_arrays(linear())), update.event))
    np.testing.assert_allclose(total, flat(update), atol=1e-4)  # and all twelve are the run's update


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_at_once_change_neither_update_nor_event(engine):
    sampler = PoissonSampler(20, 0.7, 3)
    whole, *others = [
        train(linear(), rows(), sampler, engine=engine, rows_at_once=size, draws=draws(4)) for size in (512, 7, 1)
    ]
    for each in others:
        np.testing.assert_allclose(flat(each), flat(whole), atol=1e-6)
        assert each.event == whole.event
    assert train(linear(), rows(), sampler, engine=engine, rows_at_once=1).event == sampler.event(1.0)


def test_all_engines_train_alike():
    sampler = PoissonSampler(20, 0.7, 3)
    updates = [train(linear(), rows(), sampler, engine=engine, draws=draws(4)) for engine in ENGINES]
    for each in updates[1:]:
        np.testing.assert_allclose(flat(each), flat(updates[0]), atol=1e-6)


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


def gradient_sum(module: nn.Module, split: Split, probability: float = 1.0, steps: int = 1, **changes) -> np.ndarray:
    sampler = PoissonSampler(len(split), probability, steps)
    found = clipped_gradient_sum(module, split, loss=cross_entropy, sampler=sampler, **{"max_grad_norm": 0.5} | changes)
    return np.concatenate([array.ravel() for array in found.values()])


@pytest.mark.parametrize("make", [linear, network])
def test_the_sum_is_that_of_one_step_without_noise(make):
    module, split = make(), rows()
    before = digest(get_arrays(module))
    total = gradient_sum(module, split, rows_at_once=7)
    np.testing.assert_allclose(-total / 20, explicit(module, split, steps=1), atol=1e-6)
    assert digest(get_arrays(module)) == before


@pytest.mark.parametrize("value", [np.nan, 1e6])
def test_one_row_moves_the_sum_by_at_most_the_bound(value):
    split, moved = rows(), []
    others = split.take(np.arange(1, 20))
    split.inputs[0] = value
    for label in range(3):
        split.targets[0] = label
        moved.append(np.linalg.norm(gradient_sum(linear(), split) - gradient_sum(linear(), others)))
    assert max(moved) <= 0.5 * (1 + 1e-5) + 1e-6 * 20
    assert max(moved) < 1e-6 if np.isnan(value) else max(moved) > 0.4


def test_the_batch_of_a_sum_comes_from_the_draws_or_from_the_system():
    split, drawn = rows(), draws(3)
    (batch,) = PoissonSampler(20, 0.5, 1).batches(draws(3).batches)
    total = gradient_sum(linear(), split, 0.5, draws=Draws(drawn.batches, noise=None))
    np.testing.assert_allclose(total, gradient_sum(linear(), split.take(batch)), atol=1e-5)
    systems = [gradient_sum(linear(), split, 0.5) for _ in range(4)]  # two alike: 1 in 2**20 each
    assert any(not np.allclose(systems[0], each) for each in systems[1:])


def test_a_sum_of_no_rows_is_zero_and_one_of_several_steps_is_refused():
    assert not gradient_sum(linear(), rows(0)).any()
    with pytest.raises(ValueError, match="steps must be 1, got 2"):
        gradient_sum(linear(), rows(), steps=2)
