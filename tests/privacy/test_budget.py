"""Budgets: answers to the last digit, and a run's worth of them for the price of a few."""

import time

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.privacy import Budget, PoissonSampler, epsilon
from fedcomp.privacy.budget import merge
from fedcomp.privacy.events import flatten

DELTA = 1e-5
ROUND = flatten([(PoissonSampler(0, 0.25, 1).event(4.4), 1)])
METRICS = flatten([(dp.GaussianDpEvent(20.0), 1)])


def test_a_run_of_answers_is_quick_and_exact():
    budget = Budget(epsilon(merge({}, ROUND, 150).items(), DELTA), DELTA)
    started = time.process_time()
    answers = [budget.exceeded_by(merge({}, ROUND, done), ROUND) for _ in range(10) for done in range(150)]
    assert time.process_time() - started < 4  # under two seconds on a quiet core
    assert not any(answers)
    assert budget.exceeded_by(merge({}, ROUND, 150), ROUND)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 60), st.sampled_from([0, 20]), st.sampled_from([1, 5]), st.booleans())
def test_answers_from_memory_are_those_of_the_accountant(rounds, counts, more, metrics):
    """One budget for all examples, so that most answers come from what earlier ones left in memory."""
    budget = Budget(1.7, DELTA)
    spent = merge(merge({}, ROUND, rounds) if rounds else {}, METRICS, counts) if counts else merge({}, ROUND, rounds)
    increment = merge({}, METRICS if metrics else ROUND, more)
    expected = epsilon(merge(spent, increment).items(), DELTA) > budget.target_epsilon
    assert budget.exceeded_by(spent, increment) == expected


def test_nothing_more_costs_nothing_more():
    budget = Budget(epsilon(ROUND.items(), DELTA), DELTA)
    assert not budget.exceeded_by(ROUND, {})
    assert not budget.exceeded_by({}, {})
    assert budget.exceeded_by(ROUND, METRICS)


def test_no_noise_is_in_no_budget():
    assert Budget(1e9, DELTA).exceeded_by({}, {dp.NonPrivateDpEvent(): 1})
    assert Budget(1e9, DELTA).exceeded_by({dp.NonPrivateDpEvent(): 1}, {})


def test_merge():
    assert merge({"a": 1}, {"a": 2, "b": 1}, times=3) == {"a": 7, "b": 3}


@pytest.mark.parametrize(
    ("target", "delta", "name"), [(0, DELTA, "target_epsilon"), (1.0, 0, "delta"), (1.0, 1, "delta")]
)
def test_refusals(target, delta, name):
    with pytest.raises(ValueError, match=name):
        Budget(target, delta)
