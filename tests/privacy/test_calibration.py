"""Noise for a target, and the cost of a planned run round by round."""

import math
import time

import dp_accounting as dp
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from fedcomp.privacy import PoissonSampler, calibrate_noise_multiplier, epsilon, epsilon_schedule

DELTA = 1e-5


def spent(sampling_probability, noise_multiplier, steps):
    return epsilon([(PoissonSampler(0, sampling_probability, steps).event(noise_multiplier), 1)], DELTA)


@pytest.mark.parametrize(
    ("target", "sampling_probability", "steps", "expected"), [(3.0, 0.1365, 292, 3.394), (3.0, 0.25, 150, 4.40)]
)
def test_anchors(target, sampling_probability, steps, expected):
    noise = calibrate_noise_multiplier(target, DELTA, sampling_probability, steps)
    assert noise == pytest.approx(expected, rel=2e-3)
    assert noise == round(noise, 4)


@pytest.mark.parametrize(
    ("target", "sampling_probability", "steps"),
    [(0.05, 0.1365, 292), (8.0, 0.5, 100), (50.0, 0.1, 300), (3.0, 1.0, 50)],
)
def test_the_target_is_met_and_hardly_missed(target, sampling_probability, steps):
    noise = calibrate_noise_multiplier(target, DELTA, sampling_probability, steps)
    assert 0.99 * target < spent(sampling_probability, noise, steps) <= target


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0.0, DELTA, 0.1, 10), "target_epsilon"),
        ((float("inf"), DELTA, 0.1, 10), "target_epsilon"),
        ((float("nan"), DELTA, 0.1, 10), "target_epsilon"),
        ((1.0, 1e-17, 0.1, 10), "target_epsilon"),  # below what the accountant resolves: out of reach for any noise
        ((3.0, 1.0, 0.1, 10), "delta"),
        ((3.0, DELTA, 0.0, 10), "sampling_probability"),
        ((3.0, DELTA, 1.1, 10), "sampling_probability"),
        ((3.0, DELTA, 0.1, 0), "steps"),
    ],
)
def test_refusals(arguments, name):
    with pytest.raises(ValueError, match=name):
        calibrate_noise_multiplier(*arguments)


def test_the_schedule_is_quick_and_every_value_is_a_bound():
    event = PoissonSampler(0, 0.25, 1).event(4.4)
    started = time.process_time()
    values = [spent.epsilon for spent in epsilon_schedule(event, range(151), DELTA)]
    assert time.process_time() - started < 4  # under two seconds on a quiet core
    assert values[0] == 0
    assert values == sorted(values)
    optimistic = pld.from_gaussian_mechanism(
        4.4, pessimistic_estimate=False, use_connect_dots=False, value_discretization_interval=1e-4, sampling_prob=0.25
    )
    for rounds in (1, 2, 75, 149):
        least = optimistic.self_compose(rounds).get_epsilon_for_delta(DELTA)  # rounded down: no bound is below it
        assert least <= values[rounds] <= least * 1.005
    assert values[150] == epsilon([(event, 150)], DELTA)


def test_the_schedule_says_what_its_numbers_mean():
    event = PoissonSampler(0, 0.3, 2).event(3.0)
    first, third = epsilon_schedule(event, [1, 3], DELTA, unit="client", mode="central")
    assert (first.delta, first.unit, first.mode, first.accountant) == (DELTA, "client", "central", "PLD")
    assert first.epsilon == pytest.approx(epsilon([(event, 1)], DELTA), rel=1e-3)
    assert third.epsilon == epsilon([(event, 3)], DELTA)


def test_schedules_of_events_that_cost_nothing_or_everything():
    assert [spent.epsilon for spent in epsilon_schedule(dp.NoOpDpEvent(), [0, 1, 2], DELTA)] == [0, 0, 0]
    assert [spent.epsilon for spent in epsilon_schedule(dp.NonPrivateDpEvent(), [0, 1, 2], DELTA)] == [
        0,
        math.inf,
        math.inf,
    ]
    assert epsilon_schedule(dp.NoOpDpEvent(), [], DELTA) == []


def test_schedule_refusals():
    with pytest.raises(ValueError, match="rounds must not be negative, got -1"):
        epsilon_schedule(dp.NoOpDpEvent(), [1, -1], DELTA)
    with pytest.raises(ValueError, match="delta"):
        epsilon_schedule(dp.NoOpDpEvent(), [1], 0.0)
