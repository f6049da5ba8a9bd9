"""Adaptive clipping: the bound finds the quantile from either side, and bits and sum together cost what is said."""

import math

import dp_accounting as dp
import numpy as np
import pytest

from fedcomp.privacy import AdaptiveClip, epsilon

CLIP = AdaptiveClip(clipping_norm=1.0, quantile=0.5, rate=0.2, bit_noise=5.0, expected=100)


def after(start, quantile, rounds=300, seed=0):
    """The bound after some rounds in which 100 clients have log-normal norms of median 1."""
    rng, bound = np.random.default_rng(seed), start
    for _ in range(rounds):
        within = int(np.sum(np.exp(rng.standard_normal(100)) <= bound))
        clip = AdaptiveClip(bound, quantile, 0.2, 5.0, 100)
        bound = clip.following(within, 100 - within, rng)
    return bound


@pytest.mark.parametrize("start", [0.01, 0.99, 2.0, 100.0])
@pytest.mark.parametrize(("quantile", "expected"), [(0.5, 1.0), (0.8413, math.e)])
def test_the_bound_finds_the_quantile(start, quantile, expected):
    """Row 1: with the sign turned round, a bound of .99 falls to nothing and one of 2 grows for ever."""
    assert after(start, quantile) == pytest.approx(expected, rel=0.35)


def test_one_client_moves_the_logarithm_of_the_bound_by_half_a_bit():
    """The bit is centred: a client that is there or not moves the sum by a half, on which the noise is calibrated."""
    quiet = AdaptiveClip(1.0, 0.5, 0.2, 1e-12, 100)
    rng = np.random.default_rng(0)
    none, within, without = (math.log(quiet.following(*counts, rng)) for counts in ((50, 50), (51, 50), (50, 51)))
    assert within - none == pytest.approx(-0.2 * 0.5 / 100, rel=1e-6)
    assert without - none == pytest.approx(0.2 * 0.5 / 100, rel=1e-6)


def test_nobody_there_is_a_round_of_noise_and_no_division_by_zero():
    found = [CLIP.following(0, 0, np.random.default_rng(seed)) for seed in range(200)]
    assert np.std(np.log(found)) == pytest.approx(0.2 * 5.0 / 100, rel=0.2)


@pytest.mark.parametrize("bit_noise", [1.0, 5.0, 50.0])
def test_sum_and_bits_together_cost_what_the_event_says(bit_noise):
    """Two Gaussian mechanisms on one client, composed by the accountant, are one of the stated multiplier."""
    clip = AdaptiveClip(1.0, 0.5, 0.2, bit_noise, 100)
    on_sum = clip.noise_on_sum(1.1)
    assert on_sum > 1.1
    together = [(dp.GaussianDpEvent(on_sum), 20), (dp.GaussianDpEvent(2 * bit_noise), 20)]
    assert epsilon(together, 1e-5) == pytest.approx(epsilon([(dp.GaussianDpEvent(1.1), 20)], 1e-5), rel=2e-3)


def test_bits_that_would_take_it_all_are_refused():
    with pytest.raises(ValueError, match=r"above 0\.55 clients"):
        AdaptiveClip(1.0, 0.5, 0.2, 0.55, 100).noise_on_sum(1.1)


def test_the_bound_stays_in_its_range():
    low = AdaptiveClip(1e-9, 0.0001, 5.0, 1e-12, 1).following(1, 0, np.random.default_rng(0))
    high = AdaptiveClip(1e9, 0.9999, 5.0, 1e-12, 1).following(0, 1, np.random.default_rng(0))
    assert (low, high) == (1e-9, 1e9)
