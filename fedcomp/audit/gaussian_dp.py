"""Gaussian DP, and the trade-off curve of what a ledger booked: how well any test can tell one unit's presence.

A mechanism is mu-GDP if telling two neighbours apart is as hard as telling N(0, 1) from N(mu, 1) (Dong, Roth and Su
2022). ``TradeOff`` is the same kind of statement for any composed events, from the accountant's own privacy loss
distribution instead of a central limit.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import log_ndtr, ndtri

from fedcomp.privacy.accounting import check_delta, coarse_epsilon, least_interval, on_grid
from fedcomp.privacy.events import DpEvent, flatten

Floats = NDArray[np.float64]

_POINTS = 2000  # lines under the curve; more of them move an audit's bound by less than a thousandth
_GRID = 5e-4  # grid step of the loss distribution over epsilon
_TAIL = 1e-11  # lines reach to the epsilon at this delta; all that is rarer counts as lost
_LEAST, _MOST = 1e-9, 1e4  # mu that is searched


def epsilon_of_mu(mu: float, delta: float) -> float:
    """Return the epsilon at ``delta`` of the Gaussian pair N(0, 1), N(mu, 1), by Balle and Wang (2018).

    Solves ``delta = Phi(mu/2 - epsilon/mu) - exp(epsilon) Phi(-mu/2 - epsilon/mu)`` in logarithms; 0 where the pair is
    (0, delta)-private already, infinite for infinite ``mu``.

    Raises:
        ValueError: if ``mu`` is negative or ``delta`` is not in (0, 1).
    """
    check_delta(delta)
    if not mu >= 0:
        raise ValueError(f"mu must not be negative, got {mu}")
    if mu == 0 or math.isinf(mu):
        return mu
    target = math.log(delta)
    if _log_delta(0.0, mu) <= target:
        return 0.0
    # the first of the two terms alone is below delta there
    high = mu * (mu / 2 + float(-ndtri(delta))) if delta < 0.5 else mu * mu / 2
    return float(brentq(lambda value: _log_delta(value, mu) - target, 0.0, high, xtol=1e-12, rtol=1e-12))


def mu_of_epsilon(epsilon: float, delta: float) -> float:
    """Return the mu whose Gaussian pair has that ``epsilon`` at ``delta``, the inverse of ``epsilon_of_mu``.

    Raises:
        ValueError: if ``epsilon`` is not finite and at least 0, or ``delta`` is not in (0, 1).
    """
    check_delta(delta)
    if not (math.isfinite(epsilon) and epsilon >= 0):
        raise ValueError(f"epsilon must be finite and not negative, got {epsilon}")
    target = math.log(delta)

    def excess(log_mu: float) -> float:
        return max(_log_delta(epsilon, math.exp(log_mu)), -1e6) - target

    return math.exp(brentq(excess, math.log(_LEAST), math.log(_MOST), xtol=1e-12, rtol=1e-12))


def gaussian_pair_mu(without: Floats, with_: Floats, alpha: float) -> float:
    """Return a lower bound on mu that holds with probability ``1 - alpha``, or 0 if the samples prove nothing.

    Assumes independent normal samples, ``without`` ``[n0]`` of mean a and deviation s0, ``with_`` ``[n1]`` of mean b
    and deviation s1; mu is ``(b - a) / s0``. The bound is

        ``[mean1 - mean0 - z sqrt(s1^2/n1 + s0^2/n0)] / [s0 sqrt((n0 - 1) / chi2)]``

    with the quantiles z at ``1 - alpha/2`` and chi2, of ``n0 - 1`` degrees, at ``alpha/2``: the difference of means and
    the deviation each fail with ``alpha/2``. Noise that does not vary at all makes it infinite.
    """
    if min(len(without), len(with_)) < 3:
        return 0.0
    variance, other = float(np.var(without, ddof=1)), float(np.var(with_, ddof=1))
    error = math.sqrt(variance / len(without) + other / len(with_))
    shift = float(with_.mean() - without.mean()) - float(stats.norm.isf(alpha / 2)) * error
    if shift <= 0:
        return 0.0
    degrees = len(without) - 1
    deviation = math.sqrt(variance * degrees / float(stats.chi2.ppf(alpha / 2, degrees)))
    return shift / deviation if deviation > 0 else math.inf


@dataclass(frozen=True, eq=False)
class TradeOff:
    """What hits (true positives) cost in false alarms, at best, if the events are all that was released.

    Built from points of the privacy profile: at each of ``epsilons``, ascending from 0, the release is private with
    that one of ``deltas``, both ways.
    Each point forbids what lies above two lines (Wasserman and Zhou 2010); the curve is their lower envelope, so fewer
    points make it looser, never wrong. ``fpr`` and ``tpr`` are its vertices, ascending; it is its own mirror image.
    """

    epsilons: Floats
    deltas: Floats
    fpr: Floats = field(init=False, repr=False)
    tpr: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        steep, grown = self.epsilons[:-1], np.diff(self.epsilons)
        # where the lines tpr = delta + exp(epsilon) fpr of neighbours in epsilon meet
        meet = -np.diff(self.deltas) / np.exp(np.minimum(steep, 700.0)) / np.expm1(grown)
        rise = self.deltas[:-1] + np.exp(np.minimum(steep, 700.0)) * meet
        middle = (1 - self.deltas[0]) / 2
        low, high = np.append(meet[::-1], middle), np.append(rise[::-1], 1 - middle)
        fpr = np.concatenate([[0.0], low, 1 - high[::-1], [1 - self.deltas[-1], 1.0]])
        tpr = np.concatenate([[self.deltas[-1]], high, 1 - low[::-1], [1.0, 1.0]])
        object.__setattr__(self, "fpr", np.maximum.accumulate(np.clip(fpr, 0, 1)))
        object.__setattr__(self, "tpr", np.maximum.accumulate(np.clip(tpr, 0, 1)))

    def __call__(self, fpr: float) -> float:
        """Return the least share of misses at that share of false alarms, the f of f-DP."""
        return 1 - float(np.interp(fpr, self.fpr, self.tpr))

    def least_fpr(self, tpr: float) -> float:
        """Return the least share of false alarms at that share of hits."""
        return float(np.interp(tpr, self.tpr, self.fpr)) if tpr > self.tpr[0] else 0.0


def trade_off(events: Iterable[tuple[DpEvent, int]]) -> TradeOff:
    """Return the curve of all events, each with its count, composed on one unit, add or remove one.

    The loss distribution is rounded pessimistically, so a test that is better than the curve refutes the events. No
    events make the diagonal, anything without noise no restriction at all.

    Raises:
        UnsupportedEvent: for an event that the accountant cannot price.
    """
    counts = flatten(events)
    reach = coarse_epsilon(counts, _TAIL)
    if not counts or math.isinf(reach):
        return TradeOff(np.zeros(1), np.array([1.0 if counts else 0.0]))
    loss = on_grid(counts, max(reach * _GRID, least_interval(counts)))
    grid = np.linspace(0, reach, _POINTS)
    return TradeOff(grid, np.minimum.accumulate(np.asarray(loss.get_delta_for_epsilon(grid), dtype=np.float64)))


def gaussian_trade_off(mu: float, points: int = 400) -> TradeOff:
    """Return the curve of the Gaussian pair N(0, 1), N(mu, 1), by that many points of its privacy profile.

    Raises:
        ValueError: if ``mu`` is not finite and above 0.
    """
    if not (math.isfinite(mu) and mu > 0):
        raise ValueError(f"mu must be finite and above 0, got {mu}")
    grid = np.linspace(0, max(epsilon_of_mu(mu, _TAIL), 1e-9), points)
    first, second = log_ndtr(mu / 2 - grid / mu), grid + log_ndtr(-mu / 2 - grid / mu)
    return TradeOff(grid, np.exp(first) * -np.expm1(np.minimum(second - first, 0.0)))


def _log_delta(value: float, mu: float) -> float:
    """Return the logarithm of delta at epsilon ``value``; of two terms whose difference would lose all digits."""
    first, second = float(log_ndtr(mu / 2 - value / mu)), value + float(log_ndtr(-mu / 2 - value / mu))
    return first + math.log(-math.expm1(second - first)) if second < first else -math.inf
