"""Samplers: Poisson batches as the accountant assumes them, and events that only the sampler gives out."""

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from fedcomp.privacy import CohortSampler, PoissonSampler

# False alarms: every test below runs on a fixed stream, so it passes or fails for good; the levels say how likely a
# right sampler would have failed on a fresh one.
LEVEL = 1e-4


def inclusion(batches, population):
    return np.array([np.isin(np.arange(population), batch) for batch in batches])


def looks_poisson(matrix, probability):
    """Whether batch sizes vary as independent draws do, and the total number of draws is the expected one."""
    steps, population = matrix.shape
    sizes = matrix.sum(axis=1)
    variance = population * probability * (1 - probability)
    spread = stats.chi2(steps).cdf(((sizes - population * probability) ** 2).sum() / variance)
    total = stats.binomtest(int(matrix.sum()), matrix.size, probability).pvalue
    return LEVEL < spread < 1 - LEVEL and total > LEVEL


def test_batches_are_poisson_and_the_shuffled_variants_are_not():
    rng = np.random.default_rng(1)
    ours = inclusion(PoissonSampler(200, 0.1, 400).batches(rng), 200)
    assert looks_poisson(ours, 0.1)
    fixed = inclusion((rng.choice(200, 20, replace=False) for _ in range(400)), 200)
    assert not looks_poisson(fixed, 0.1)
    shuffled = np.concatenate([inclusion(rng.permutation(200).reshape(10, 20), 200) for _ in range(40)])
    assert not looks_poisson(shuffled, 0.1)
    denser = inclusion(PoissonSampler(200, 0.11, 400).batches(rng), 200)
    assert not looks_poisson(denser, 0.1)


def test_units_are_drawn_independently_over_steps():
    matrix = inclusion(PoissonSampler(200, 0.3, 300).batches(np.random.default_rng(2)), 200)
    counts = matrix.sum(axis=0)
    spread = stats.chi2(200).cdf(((counts - 90) ** 2).sum() / (300 * 0.3 * 0.7))
    assert LEVEL < spread < 1 - LEVEL


def test_empty_batches_are_yielded_never_skipped_or_drawn_again():
    sampler = PoissonSampler(10, 0.05, 500)
    batches = list(sampler.batches(np.random.default_rng(0)))
    assert len(batches) == 500
    empty = sum(not len(batch) for batch in batches)
    assert stats.binomtest(empty, 500, 0.95**10).pvalue > LEVEL
    skipping = [batch for batch in batches if len(batch)]
    assert len(skipping) != sampler.steps


@pytest.mark.parametrize("population", [0, 1, 7, 29, 30, 31, 107])
def test_steps_and_event_do_not_follow_from_the_population(population):
    sampler = PoissonSampler(population, 0.3, 7)
    assert len(list(sampler.batches(np.random.default_rng(0)))) == 7
    assert sampler.event(1.5) == PoissonSampler(1000, 0.3, 7).event(1.5)
    assert "population" not in repr(sampler)


def test_batches_are_indices_in_range():
    for batch in PoissonSampler(50, 0.5, 20).batches(np.random.default_rng(0)):
        assert batch.dtype == np.int64
        assert (np.diff(batch) > 0).all()
        assert ((batch >= 0) & (batch < 50)).all()


def test_the_event_is_what_was_sampled():
    event = PoissonSampler(100, 0.25, 3).event(2.0)
    assert event == dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.25, dp.GaussianDpEvent(2.0)), 3)


def test_no_noise_is_a_non_private_event():
    assert PoissonSampler(100, 0.25, 3).event(0.0).event.event == dp.NonPrivateDpEvent()
    assert CohortSampler(10).event(0.0) == dp.NonPrivateDpEvent()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 0.5, 1), "population"),
        ((10, 0.0, 1), "sampling_probability"),
        ((10, 1.5, 1), "sampling_probability"),
        ((10, float("nan"), 1), "sampling_probability"),
        ((10, 0.5, 0), "steps"),
    ],
)
def test_poisson_refusals(arguments, name):
    with pytest.raises(ValueError, match=name):
        PoissonSampler(*arguments)


@pytest.mark.parametrize(
    ("sampler", "amplification", "event"),
    [
        (CohortSampler(100), "none", dp.GaussianDpEvent(2.0)),
        (CohortSampler(100, "fixed", 25), "none", dp.GaussianDpEvent(1.0)),
        (CohortSampler(100, "bernoulli", 25), "poisson", dp.PoissonSampledDpEvent(0.25, dp.GaussianDpEvent(2.0))),
    ],
)
def test_only_bernoulli_cohorts_claim_amplification(sampler, amplification, event):
    assert sampler.amplification == amplification
    assert sampler.event(2.0) == event


def test_cohorts():
    rng = np.random.default_rng(3)
    assert CohortSampler(5).cohort(rng).tolist() == [0, 1, 2, 3, 4]
    fixed = [CohortSampler(50, "fixed", 7).cohort(rng) for _ in range(20)]
    assert all(len(set(cohort.tolist())) == 7 for cohort in fixed)
    assert all((np.diff(cohort) > 0).all() for cohort in fixed)
    bernoulli = [CohortSampler(200, "bernoulli", 20).cohort(rng) for _ in range(400)]
    assert looks_poisson(inclusion(bernoulli, 200), 0.1)
    assert not looks_poisson(inclusion([CohortSampler(200, "fixed", 20).cohort(rng) for _ in range(400)], 200), 0.1)


def test_one_stream_gives_one_cohort():
    draw = [CohortSampler(100, "fixed", 10).cohort(np.random.default_rng(5)).tolist() for _ in range(2)]
    assert draw[0] == draw[1]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0,), "population"),
        ((10, "some"), "kind"),
        ((10, "all", 5), "size"),
        ((10, "fixed"), "size"),
        ((10, "bernoulli", 11), "size"),
        ((10, "fixed", 0), "size"),
    ],
)
def test_cohort_refusals(arguments, name):
    with pytest.raises(ValueError, match=name):
        CohortSampler(*arguments)
