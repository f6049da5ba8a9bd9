"""What events cost: published anchors, two accountants, and properties that shipped accountants broke."""

import math

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fedcomp.privacy import PoissonSampler, UnsupportedEvent, epsilon
from fedcomp.privacy.accounting import coarse_epsilon
from fedcomp.privacy.events import flatten

DELTA = 1e-5


def step(sampling_probability, noise_multiplier):
    return dp.PoissonSampledDpEvent(sampling_probability, dp.GaussianDpEvent(noise_multiplier))


@pytest.mark.parametrize(
    ("sampling_probability", "noise_multiplier", "steps", "expected", "rdp"),
    [
        (0.01, 1.0, 1000, 1.828, 2.101),
        (0.1365, 3.394, 292, 3.00, 3.265),
        (0.25, 4.40, 150, 3.00, 3.268),
    ],
)
def test_anchors(sampling_probability, noise_multiplier, steps, expected, rdp):
    events = [(step(sampling_probability, noise_multiplier), steps)]
    assert epsilon(events, DELTA) == pytest.approx(expected, abs=0.005)
    assert epsilon(events, DELTA, "RDP") == pytest.approx(rdp, abs=0.005)


@pytest.mark.parametrize("noise_multiplier", [0.5, 1.0, 5.0, 20.0])
def test_the_gaussian_mechanism_has_its_closed_form(noise_multiplier):
    """Balle and Wang 2018, theorem 8: delta of the Gaussian mechanism exactly; ours is at most a hair above."""
    value = epsilon([(dp.GaussianDpEvent(noise_multiplier), 1)], DELTA)

    def delta(eps):
        half = 1 / (2 * noise_multiplier)
        shift = eps * noise_multiplier
        return norm.cdf(half - shift) - math.exp(eps) * norm.cdf(-half - shift)

    assert delta(value) <= DELTA
    assert delta(value * 0.999) > DELTA


EVENTS = [
    dp.NoOpDpEvent(),
    dp.NonPrivateDpEvent(),
    dp.GaussianDpEvent(5.0),
    dp.LaplaceDpEvent(20.0),
    step(0.1, 2.0),
    dp.PoissonSampledDpEvent(0.1, dp.LaplaceDpEvent(10.0)),
    dp.SelfComposedDpEvent(step(0.2, 3.0), 4),
    dp.ComposedDpEvent([step(0.1, 2.0), dp.GaussianDpEvent(8.0)]),
    PoissonSampler(0, 0.25, 3).event(4.4),
    PoissonSampler(0, 0.25, 3).event(0.0),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("times", [1, 7])
def test_composing_n_at_once_is_composing_n_times(event, times):
    """Row 20: a branch that forgets the count."""
    at_once = epsilon([(event, times)], DELTA)
    assert at_once == epsilon([(event, 1)] * times, DELTA)
    assert at_once == epsilon([(dp.SelfComposedDpEvent(event, times), 1)], DELTA)
    assert at_once == epsilon([(dp.ComposedDpEvent([event] * times), 1)], DELTA)
    if math.isfinite(at_once) and at_once:
        assert at_once > epsilon([(event, 1)], DELTA) or times == 1


def test_the_branch_that_forgets_its_count_is_refused():
    """dp-accounting 0.6.0 prices ten randomized responses as one; the property above would catch it, so we refuse."""
    event = dp.RandomizedResponseDpEvent(0.5, 2)
    relation = dp.NeighboringRelation.REPLACE_ONE
    at_once = dp.pld.PLDAccountant(relation).compose(event, 10).get_epsilon(DELTA)
    ten_times = dp.pld.PLDAccountant(relation)
    for _ in range(10):
        ten_times.compose(event)
    assert ten_times.get_epsilon(DELTA) > 5 * at_once  # the bug is there
    with pytest.raises(UnsupportedEvent):
        epsilon([(event, 10)], DELTA)


@settings(deadline=None, max_examples=3)
@given(st.floats(0.05, 1.0), st.floats(1.0, 10), st.integers(1, 200))
def test_pld_is_below_rdp_and_coarse_is_above_fine(sampling_probability, noise_multiplier, steps):
    event = step(sampling_probability, noise_multiplier)
    value = epsilon([(event, steps)], DELTA)
    assert 0 <= value <= epsilon([(event, steps)], DELTA, "RDP") * 1.0001 + 1e-4
    assert value <= coarse_epsilon(flatten([(event, steps)]), DELTA)
    assert value <= epsilon([(event, steps + 1)], DELTA)


def test_order_and_splitting_do_not_matter():
    one, two = step(0.1, 2.0), dp.GaussianDpEvent(9.0)
    expected = epsilon([(one, 5), (two, 2)], DELTA)
    assert epsilon([(two, 1), (one, 3), (two, 1), (one, 2)], DELTA) == expected


def test_training_and_metrics_add_up():
    """Metrics cost: 292 training steps and 50 noisy counts; a figure measured with another program."""
    value = epsilon([(step(0.1365, 3.394), 292), (dp.GaussianDpEvent(20.0), 50)], DELTA)
    assert value == pytest.approx(3.38, abs=0.01)


def test_no_events_cost_nothing_and_no_noise_costs_everything():
    for accountant in ("PLD", "RDP"):
        assert epsilon([], DELTA, accountant) == 0
        assert epsilon([(dp.NoOpDpEvent(), 100)], DELTA, accountant) == 0
        assert epsilon([(dp.GaussianDpEvent(1.0), 0)], DELTA, accountant) == 0
        for event in (dp.NonPrivateDpEvent(), dp.GaussianDpEvent(0.0), step(0.1, 0.0)):
            assert epsilon([(step(0.1, 2.0), 3), (event, 1)], DELTA, accountant) == math.inf


@pytest.mark.parametrize("noise_multiplier", [1e-3, 0.05, 0.3])
def test_tiny_noise_gives_a_huge_epsilon_and_not_a_huge_grid(noise_multiplier):
    value = epsilon([(step(0.1365, noise_multiplier), 292)], DELTA)
    assert 100 < value < math.inf


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_delta_is_checked(delta):
    with pytest.raises(ValueError, match="delta must be in"):
        epsilon([], delta)


def test_what_one_accountant_cannot_price_it_refuses():
    with pytest.raises(UnsupportedEvent):
        epsilon([(dp.UnsupportedDpEvent(), 1)], DELTA)
    sampled = dp.PoissonSampledDpEvent(0.1, dp.LaplaceDpEvent(10.0))
    with pytest.raises(UnsupportedEvent, match="RDP"):
        epsilon([(sampled, 1)], DELTA, "RDP")
