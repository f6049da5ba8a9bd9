"""Confidence intervals: exact where they can be, and they cover what they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fedcomp.audit.intervals import auc, auc_interval, clopper_pearson

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(lambda values: np.array(values, dtype=float))


def brute_force(members, others) -> float:
    above = members[:, None] - others[None, :]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


@settings(max_examples=100, deadline=None)
@given(members=scores, others=scores)
def test_auc_is_that_of_all_pairs(members, others):
    assert auc(members, others) == pytest.approx(brute_force(members, others), abs=1e-12)
    assert auc(members, others) + auc(others, members) == pytest.approx(1.0)


def test_auc_with_infinite_scores():
    assert auc(np.array([0.0, np.inf]), np.array([-np.inf, 1.0])) == 0.75


def test_clopper_pearson_is_that_of_scipy():
    for count in (0, 1, 17, 39, 40):
        low, high = clopper_pearson(np.array([count]), 40, 0.05)
        expected = stats.binomtest(count, 40).proportion_ci(0.95, method="exact")
        assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_auc_interval_covers_the_true_value():
    """300 draws at a true AUC of 0.76: at most 5 % misses, up to three standard errors; a third of the width fails."""
    rng = np.random.default_rng(0)
    truth = float(stats.norm.cdf(1 / np.sqrt(2)))
    misses, narrow_misses = 0, 0
    for _ in range(300):
        interval = auc_interval(rng.normal(1, 1, 80), rng.normal(0, 1, 80), 0.05)
        misses += not interval.low <= truth <= interval.high
        middle, third = (interval.low + interval.high) / 2, (interval.high - interval.low) / 6
        narrow_misses += not middle - third <= truth <= middle + third
    limit = 300 * (0.05 + 3 * np.sqrt(0.05 * 0.95 / 300))
    assert misses <= limit < narrow_misses


def test_auc_interval_of_perfect_separation_is_not_a_point():
    interval = auc_interval(np.arange(10.0, 60.0), np.arange(-50.0, 0.0), 0.05)
    assert interval.high == 1.0
    assert 0.9 < interval.low < 0.95  # 50 of 50


def test_auc_interval_of_equal_scores():
    interval = auc_interval(np.zeros(50), np.zeros(50), 0.05)
    assert interval.low < 0.5 < interval.high
