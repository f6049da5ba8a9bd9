"""What right guesses prove: against exact probabilities where they are known, and never more than chance allows."""

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from fedcomp.audit.gaussian_dp import TradeOff, epsilon_of_mu, gaussian_trade_off, mu_of_epsilon, trade_off
from fedcomp.audit.one_run_guesses import (
    Guesses,
    NoiseFamily,
    epsilon_by_count,
    guess,
    planned_for_curve,
    planned_guesses,
    refutes,
)


def randomized_response(epsilon: float) -> TradeOff:
    return TradeOff(np.array([0.0, epsilon]), np.array([np.tanh(epsilon / 2), 0.0]))


@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(("canaries", "made"), [(100, 100), (500, 80)])
def test_randomized_response_is_never_refuted_more_often_than_alpha(epsilon, canaries, made):
    """There the right guesses are binomial, so the exact chance of what is refuted is known. It is not far below alpha
    either for the count, which is exact, up to the one step of the binomial."""
    chance = 1 / (1 + np.exp(-epsilon))
    for alpha in (0.05, 0.001):
        refuted = [
            correct
            for correct in range(made + 1)
            if refutes(Guesses(made, correct), canaries, randomized_response(epsilon), alpha)
        ]
        assert stats.binom.sf(min(refuted, default=made + 1) - 1, made, chance) <= alpha
        counted = [
            correct
            for correct in range(made + 1)
            if epsilon_by_count(Guesses(made, correct), canaries, 0.0, alpha) >= epsilon
        ]
        least = min(counted, default=made + 1)
        assert stats.binom.sf(least - 1, made, chance) <= alpha
        assert stats.binom.sf(least - 2, made, chance) > alpha * 0.99


def test_more_right_guesses_prove_more_and_delta_proves_less():
    found = [epsilon_by_count(Guesses(100, correct), 200, 1e-5, 0.05) for correct in range(101)]
    assert found == sorted(found)
    assert found[50] == 0.0
    assert found[100] > 3
    assert epsilon_by_count(Guesses(100, 90), 200, 1e-2, 0.05) < found[90]
    assert epsilon_by_count(Guesses(100, 90), 200, 1e-5, 0.001) < found[90]
    assert epsilon_by_count(Guesses(0, 0), 200, 1e-5, 0.05) == 0.0


def test_no_epsilon_of_a_gaussian_run_beyond_chance_and_the_best_number_of_guesses_is_beyond_it():
    """300 runs in which canaries do nothing: above 0 in at most 5 % plus three standard errors. The wrong variant, the
    best of 20 numbers of guesses on the same scores, is above 0 in far more."""
    rng, curve = np.random.default_rng(0), gaussian_trade_off(0.7)
    made = planned_guesses(400, curve, lambda found: epsilon_by_count(found, 400, 1e-5, 0.05))
    numbers, planned, greedy = np.geomspace(8, 400, 20).astype(int), 0, 0
    for _ in range(300):
        scores, held_in = rng.normal(size=400), rng.random(400) < 0.5
        planned += epsilon_by_count(guess(scores, held_in, made, rng), 400, 1e-5, 0.05) > 0
        greedy += max(epsilon_by_count(guess(scores, held_in, int(n), rng), 400, 1e-5, 0.05) for n in numbers) > 0
    limit = 300 * (0.05 + 3 * np.sqrt(0.05 * 0.95 / 300))
    assert planned <= limit
    assert greedy > 2 * limit


def test_a_curve_is_refuted_by_less_noise_and_rarely_by_its_own():
    """200 Gaussian pairs each, 1000 canaries."""
    rng, claimed = np.random.default_rng(1), gaussian_trade_off(1.0)
    made = planned_for_curve(1000, claimed, 1.0, 0.05)
    alarms = {1.0: 0, 2.0: 0}
    for mu in alarms:
        for _ in range(200):
            held_in = rng.random(1000) < 0.5
            scores = rng.normal(size=1000) + mu * (held_in - 0.5)
            alarms[mu] += refutes(guess(scores, held_in, made, rng), 1000, claimed, 0.05)
    assert alarms[1.0] <= 200 * (0.05 + 3 * np.sqrt(0.05 * 0.95 / 200))
    assert alarms[2.0] > 190


@pytest.mark.slow
def test_the_family_finds_the_noise_that_is_just_refuted():
    counts = {dp.GaussianDpEvent(2.0): 4}
    guesses = Guesses(100, 90)
    epsilon = NoiseFamily(counts, 1e-5).epsilon_by_curve(guesses, 1000, 0.05)
    mu = mu_of_epsilon(epsilon, 1e-5)
    assert refutes(guesses, 1000, trade_off([(dp.GaussianDpEvent(1.01 / mu), 1)]), 0.05)
    assert not refutes(guesses, 1000, trade_off([(dp.GaussianDpEvent(0.98 / mu), 1)]), 0.05)
    assert NoiseFamily(counts, 1e-5).epsilon_by_curve(Guesses(100, 50), 1000, 0.05) == 0.0
    sampled = {dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(1.0)): 4}
    assert 0 < NoiseFamily(sampled, 1e-5).epsilon_by_curve(guesses, 1000, 0.05) < epsilon_of_mu(2.0, 1e-5)


def test_guesses_are_the_surest_and_ties_fall_by_lot():
    scores, held_in = np.array([3.0, -2.0, 1.0, -0.5, 0.0]), np.array([True, False, False, True, True])
    rng = np.random.default_rng(0)
    assert [guess(scores, held_in, made, rng).correct for made in (1, 2, 3, 4, 5)] == [1, 2, 2, 2, 2]
    tied = [guess(np.ones(100), np.arange(100) < 50, 10, rng).correct for _ in range(50)]
    assert 0 < min(tied) < max(tied) < 10


def test_plans_are_within_what_there_is():
    for canaries in (1, 3, 50):
        assert 1 <= planned_for_curve(canaries, gaussian_trade_off(0.7), 0.7, 0.05) <= canaries
