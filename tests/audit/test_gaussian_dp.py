"""Gaussian DP against the accountant's own figures; trade-off curves against closed forms."""

import dp_accounting as dp
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedcomp.audit.gaussian_dp import (
    TradeOff,
    epsilon_of_mu,
    gaussian_pair_mu,
    gaussian_trade_off,
    mu_of_epsilon,
    trade_off,
)


@pytest.mark.parametrize("mu", [0.05, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-9])
def test_epsilon_agrees_with_the_accountant(mu, delta):
    """dp-accounting's loss distribution of a Gaussian of multiplier 1/mu rounds up, by a grid step at most."""
    theirs = pld.from_gaussian_mechanism(1 / mu, value_discretization_interval=1e-3).get_epsilon_for_delta(delta)
    assert theirs - 1e-3 < epsilon_of_mu(mu, delta) <= theirs + 1e-8


@given(st.floats(1e-3, 50), st.sampled_from([0.1, 1e-3, 1e-5, 1e-10]))
def test_mu_and_epsilon_are_inverse_of_each_other(mu, delta):
    epsilon = epsilon_of_mu(mu, delta)
    if epsilon > 0:
        assert mu_of_epsilon(epsilon, delta) == pytest.approx(mu, rel=1e-6)
        assert epsilon_of_mu(mu * 1.01, delta) > epsilon
    else:
        assert 2 * stats.norm.cdf(mu / 2) - 1 <= delta


def test_ends_of_the_scale():
    assert epsilon_of_mu(0.0, 1e-5) == 0.0
    assert epsilon_of_mu(float("inf"), 1e-5) == float("inf")
    assert epsilon_of_mu(1e-6, 1e-5) == 0.0
    assert mu_of_epsilon(0.0, 1e-5) == pytest.approx(2 * stats.norm.ppf((1 + 1e-5) / 2), rel=1e-6)
    for call in (lambda: epsilon_of_mu(-1.0, 1e-5), lambda: epsilon_of_mu(float("nan"), 1e-5)):
        with pytest.raises(ValueError, match="mu must not be negative"):
            call()
    with pytest.raises(ValueError, match="delta must be in"):
        epsilon_of_mu(1.0, 0.0)
    with pytest.raises(ValueError, match="epsilon must be finite"):
        mu_of_epsilon(float("inf"), 1e-5)
    with pytest.raises(ValueError, match="mu must be finite"):
        gaussian_trade_off(0.0)


def test_the_curve_of_a_gaussian_is_its_closed_form_and_never_above_it():
    curve, other = trade_off([(dp.GaussianDpEvent(2.0), 4)]), gaussian_trade_off(1.0, points=2000)
    for fpr in (0.0, 1e-9, 1e-6, 1e-3, 0.1, 0.3, 0.5, 0.9, 0.999, 1.0):
        exact = stats.norm.cdf(stats.norm.ppf(1 - fpr) - 1) if 0 < fpr < 1 else 1 - fpr
        assert exact - 2e-6 <= curve(fpr) <= exact + 1e-12
        assert exact - 2e-6 <= other(fpr) <= exact + 1e-12
        if 0 < fpr < 1:
            assert curve.least_fpr(1 - curve(fpr)) == pytest.approx(fpr, rel=1e-9)


def test_the_curve_of_randomized_response_has_one_corner():
    """Told the truth with probability 3/4: (log 3, 0)-private, and every test lies below the two lines of that."""
    curve = TradeOff(np.array([0.0, np.log(3)]), np.array([0.5, 0.0]))
    assert curve(0.0) == 1.0
    assert curve(0.25) == pytest.approx(0.25)
    assert curve(0.1) == pytest.approx(0.7)
    assert curve(0.7) == pytest.approx(0.1)


def test_the_curve_of_a_sampled_run_is_below_every_line_of_its_profile_and_above_that_of_more_noise():
    def run(noise):
        return [(dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(noise)), 50), 1)]

    curve, noisier = trade_off(run(1.0)), trade_off(run(1.5))
    fpr = np.geomspace(1e-8, 1, 60)
    tpr = np.array([1 - curve(value) for value in fpr])
    for epsilon, delta in zip(curve.epsilons[::50], curve.deltas[::50], strict=True):
        assert (tpr <= np.exp(epsilon) * fpr + delta + 1e-12).all()
        assert (1 - fpr <= np.exp(epsilon) * (1 - tpr) + delta + 1e-12).all()
    assert all(curve(value) <= noisier(value) for value in fpr)


def test_nothing_released_is_the_diagonal_and_no_noise_is_no_restriction():
    nothing, everything = trade_off([]), trade_off([(dp.NonPrivateDpEvent(), 1)])
    for fpr in (0.0, 0.2, 1.0):
        assert nothing(fpr) == pytest.approx(1 - fpr)
        assert everything(fpr) == 0.0
    assert everything.least_fpr(1.0) == 0.0


def test_the_bound_of_a_gaussian_pair_covers_and_the_point_estimate_does_not():
    """400 pairs of 200 samples, seeded: the bound is above the true mu in at most 5 % plus three standard errors."""
    rng = np.random.default_rng(0)
    bounds, points = [], []
    for _ in range(400):
        out, in_ = rng.normal(0, 2, 200), rng.normal(2, 2.5, 200)
        bounds.append(gaussian_pair_mu(out, in_, 0.05))
        points.append((in_.mean() - out.mean()) / out.std(ddof=1))
    assert np.mean(np.array(bounds) > 1) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.median(bounds) > 0.7
    assert np.mean(np.array(points) > 1) > 0.3


def test_a_pair_that_proves_nothing_or_everything():
    same = np.arange(10.0)
    assert gaussian_pair_mu(same, same, 0.05) == 0.0
    assert gaussian_pair_mu(same, same[:2] + 100, 0.05) == 0.0
    assert gaussian_pair_mu(np.zeros(10), np.ones(10), 0.05) == float("inf")
    assert gaussian_pair_mu(np.zeros(10), np.zeros(10), 0.05) == 0.0
