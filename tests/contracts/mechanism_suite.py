"""What every ``Mechanism`` keeps. Each check takes the mechanism and raises ``AssertionError`` where it does not."""

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from fedcomp.arrays import ArraysError, l2_norm
from fedcomp.privacy import ClippedSum, Mechanism, PrivateUpdate

DTYPES = [np.float16, np.float32, np.float64]


def update(rng, length, dtype=np.float32):
    """Return two arrays that have, as one vector, about that L2 norm."""
    raw = {"weight": rng.standard_normal((13, 7)), "bias": rng.standard_normal(5)}
    return {name: (array * (length / l2_norm(raw))).astype(dtype) for name, array in raw.items()}


def check_clip_bounds_the_whole(mechanism: Mechanism):
    """The norm of all arrays together is at most the sensitivity, to the last bit of the arrays' own dtype."""
    rng, bound = np.random.default_rng(0), mechanism.sensitivity
    for dtype in DTYPES:
        for length in (0.5, 0.999999, 1.0, 1.000001, 2, 1e3):
            for _ in range(20):
                clipped, norm = mechanism.clip(update(rng, length * bound, dtype))
                assert l2_norm(clipped) <= bound
                assert norm == pytest.approx(length * bound, rel=1e-2)
                assert all(array.dtype == dtype for array in clipped.values())


def check_clip_keeps_direction(mechanism: Mechanism):
    """A long update comes back shorter, not turned; a short one comes back as it was."""
    rng, bound = np.random.default_rng(1), mechanism.sensitivity
    long, short = update(rng, 7 * bound, np.float64), update(rng, 0.5 * bound, np.float64)
    clipped, _ = mechanism.clip(long)
    for name, array in long.items():
        np.testing.assert_allclose(clipped[name], array / 7, rtol=1e-9)
    for name, array in mechanism.clip(short)[0].items():
        np.testing.assert_array_equal(array, short[name])


def check_clip_edges(mechanism: Mechanism):
    """Zero, nothing, and numbers whose squares overflow."""
    zero = {
        "weight": np.zeros((2, 3), np.float32),
        "none": np.zeros(0, np.float32),
        "scalar": np.float32(0).reshape(()),
    }
    clipped, norm = mechanism.clip(zero)
    assert norm == 0
    assert {name: array.shape for name, array in clipped.items()} == {name: array.shape for name, array in zero.items()}
    assert mechanism.clip({}) == ({}, 0.0)
    for value in (1e300, 1.7e308, 3e200):
        clipped, norm = mechanism.clip({"weight": np.array([value, -value])})
        assert 0.9 * mechanism.sensitivity < l2_norm(clipped) <= mechanism.sensitivity
        assert norm > value


def check_clip_refuses(mechanism: Mechanism):
    """Integers, NaN and infinity are refused by the array's name; input is never written to."""
    for bad in (np.array([1]), np.array([np.nan]), np.array([np.inf], np.float32), np.array([True])):
        with pytest.raises(ArraysError, match="'second'"):
            mechanism.clip({"first": np.ones(2), "second": bad})
        with pytest.raises(ArraysError):
            ClippedSum.zero(mechanism, {"first": np.ones(2), "second": np.ones(1)}).add(
                {"first": np.ones(2), "second": bad}
            )
    given = update(np.random.default_rng(2), 10 * mechanism.sensitivity)
    before = {name: array.copy() for name, array in given.items()}
    mechanism.clip(given)
    ClippedSum.zero(mechanism, given).add(given)
    for name, array in before.items():
        np.testing.assert_array_equal(array, given[name])


def check_sensitivity(mechanism: Mechanism):
    """One unit more or less moves the sum by at most the sensitivity, however large its update is."""
    rng, bound = np.random.default_rng(3), mechanism.sensitivity
    others = [update(rng, length * bound) for length in (0.1, 1, 5)]
    base = ClippedSum.zero(mechanism, others[0])
    for one in others:
        base = base.add(one)
    for length in (0, 1, 100, 1e6):
        more = base.add(update(rng, length * bound))
        moved = {name: more.total[name] - base.total[name] for name in base.total}
        assert l2_norm(moved) <= bound * (1 + 1e-12)


def check_noise(mechanism: Mechanism, noise_std: float):
    """The noise on the sum is independent and normal with the stated deviation; the event says so; dtypes stay.

    Chance of a false alarm on a fresh stream: 3e-4 (three tests at 1e-4); the stream is fixed.
    """
    rng = np.random.default_rng(4)
    like = {"weight": np.zeros((400, 100), np.float32), "bias": np.zeros(100, np.float64)}
    released = [mechanism.noise(ClippedSum.zero(mechanism, like), rng) for _ in range(2)]
    assert all(isinstance(update, PrivateUpdate) for update in released)
    assert all(update.event == mechanism.event for update in released)
    assert {name: array.dtype for name, array in released[0].arrays.items()} == {
        "weight": np.float32,
        "bias": np.float64,
    }
    first, second = (update.arrays["weight"].ravel().astype(float) for update in released)
    if noise_std == 0:
        assert not first.any()
        assert mechanism.event == dp.NonPrivateDpEvent()
        return
    assert mechanism.event == dp.GaussianDpEvent(noise_std / mechanism.sensitivity)
    assert noise_fits(first, noise_std)
    assert not noise_fits(first / 1.05, noise_std), "the check itself does not see noise that is 5 % too small"
    assert abs(stats.pearsonr(first, second).statistic) < 0.02
    assert stats.pearsonr(first, first).statistic > 0.02  # what a seed used twice looks like


def noise_fits(values, noise_std):
    """Whether the values look like independent normal noise of that deviation."""
    place = stats.chi2(values.size).cdf(np.sum(values**2) / noise_std**2)
    return 5e-5 < place < 1 - 5e-5 and stats.kstest(values / noise_std, "norm").pvalue > 1e-4


def check_mechanism(mechanism: Mechanism, noise_std: float):
    """Run every check of the contract."""
    check_clip_bounds_the_whole(mechanism)
    check_clip_keeps_direction(mechanism)
    check_clip_edges(mechanism)
    check_clip_refuses(mechanism)
    check_sensitivity(mechanism)
    check_noise(mechanism, noise_std)
