"""The lower bound on epsilon: silent where nothing leaks, rarely above the truth, and not far below it."""

import numpy as np
import pytest
from scipy import stats

from fedcomp.audit.intervals import clopper_pearson
from fedcomp.audit.lower_bound import epsilon_lower_bound


def bound(members, others, rng, delta=0.0, confidence=0.95) -> float:
    return epsilon_lower_bound(members, others, delta, confidence, rng)


def greedy(members, others, alpha=0.05) -> float:
    """The wrong variant: the threshold with the largest bound, judged on the scores that it was chosen on."""
    thresholds = np.unique(np.concatenate([members, others]))
    hits = (members[None] > thresholds[:, None]).sum(axis=1)
    alarms = (others[None] > thresholds[:, None]).sum(axis=1)
    tpr, fpr = hits / len(members), np.maximum(alarms, 1) / len(others)
    return float(np.log(np.maximum(tpr, 1e-300) / fpr).max())


def randomized_response(epsilon: float, count: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a mechanism that is epsilon-private exactly, and no better."""
    truth = np.exp(epsilon) / (1 + np.exp(epsilon))
    return (rng.random(count) < truth).astype(float), (rng.random(count) < 1 - truth).astype(float)


def test_no_false_alarm_where_nothing_leaks():
    """200 audits of equal distributions at 95 %: alarms at most 5 % plus three standard errors; the greedy bound
    alarms nearly always."""
    rng = np.random.default_rng(0)
    alarms, greedy_alarms = 0, 0
    for _ in range(200):
        members, others = rng.normal(size=(2, 200))
        alarms += bound(members, others, rng) > 0
        greedy_alarms += greedy(members, others) > 0
    assert alarms <= 200 * (0.05 + 3 * np.sqrt(0.05 * 0.95 / 200))
    assert greedy_alarms > 180


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_rarely_above_a_true_epsilon_and_not_far_below(epsilon):
    """150 audits of randomized response: above the truth at most in 5 % plus three standard errors."""
    rng = np.random.default_rng(1)
    bounds = np.array([bound(*randomized_response(epsilon, 4000, rng), rng) for _ in range(150)])
    assert (bounds > epsilon).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 150)
    assert np.median(bounds) > 0.6 * epsilon


def test_a_leak_in_the_other_direction_is_found():
    """Members whose scores are *lower*, or who are rarely among the lowest: both are leaks."""
    rng = np.random.default_rng(2)
    members, others = randomized_response(3.0, 2000, rng)
    assert bound(-members, -others, rng) == pytest.approx(bound(others, members, rng), abs=0.5)
    assert bound(-members, -others, rng) > 1.5


def test_perfect_separation_gives_what_the_numbers_allow():
    rng = np.random.default_rng(3)
    found = bound(np.arange(2000.0, 4000.0), np.arange(2000.0), rng)
    (low,), _ = clopper_pearson(np.array([1000]), 1000, 0.05)
    _, (high,) = clopper_pearson(np.array([0]), 1000, 0.05)
    assert np.log(0.9 * low / high) < found <= np.log(low / high)


def test_delta_and_confidence_lower_the_bound():
    members, others = np.arange(200.0, 400.0), np.arange(200.0)
    plain = bound(members, others, np.random.default_rng(4))
    assert bound(members, others, np.random.default_rng(4), delta=0.5) < plain
    assert bound(members, others, np.random.default_rng(4), confidence=0.999) < plain
    assert bound(members, others, np.random.default_rng(4), delta=0.9999) == 0.0


def test_gaussian_mechanism_stays_under_its_epsilon():
    """Shift 1, noise 1: (epsilon, delta) by Balle and Wang (2018); 100 audits."""
    rng, delta, epsilon = np.random.default_rng(5), 0.01, 2.0
    while gaussian_delta(epsilon) > delta:
        epsilon += 0.01
    bounds = [bound(rng.normal(1, 1, 2000), rng.normal(0, 1, 2000), rng, delta=delta) for _ in range(100)]
    assert np.mean(np.array(bounds) > epsilon) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert np.median(bounds) > 0.3


def gaussian_delta(epsilon: float) -> float:
    return float(stats.norm.cdf(0.5 - epsilon) - np.exp(epsilon) * stats.norm.cdf(-0.5 - epsilon))
