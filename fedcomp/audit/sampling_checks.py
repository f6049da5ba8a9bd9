"""Was it Poisson sampling? Every unit by itself, in every round, with the probability that the accountant was told."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq
from scipy.special import logsumexp

from fedcomp.audit.noise_checks import ALPHA, NoiseCheck, judged

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_CHECKS = 6
_STEEPEST, _ROUNDING = 1e12, 1e-9


def check_inclusions(included: Bools, sampling_probability: float, *, alpha: float = ALPHA) -> tuple[NoiseCheck, ...]:
    """Check who took part ``[rounds, units]`` against independent draws with ``sampling_probability`` q.

    - ``total``: how many inclusions there were in all, two-sided (binomial, exact).
    - ``batch_sizes``: their spread around N q. Fixed-size batches and shuffling spread too little, units that come and
      go together too much.
    - ``unit_counts``: the spread of how often each unit came around T q. Shuffling spreads too little, sampling from
      those who are available too much.
    - ``next_round``, ``next_but_one``: how often a unit came in two successive rounds, over rounds 1-2, 3-4, ... and
      2-3, 4-5, ... (binomial, exact, because these pairs do not overlap).
    - ``repeats``: no two rounds have the same sample, where that is not likely by itself.

    The spreads are judged by Chernoff's bound on the sum of squares, which is never too small: together the checks
    raise a false alarm with probability ``alpha`` at most, whatever the sizes.

    Raises:
        ValueError: for another shape or dtype, or a value out of range.
    """
    if included.dtype != np.bool_ or included.ndim != 2 or included.size == 0:
        raise ValueError(
            f"included must be booleans [rounds, units], at least one of each, got {included.dtype} "
            f"{list(included.shape)}"
        )
    if not 0 < sampling_probability <= 1:
        raise ValueError(f"sampling_probability must be in (0, 1], got {sampling_probability}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    rate, level = float(sampling_probability), alpha / _CHECKS
    rounds, units = included.shape
    return (
        _count("total", int(included.sum()), included.size, rate, level, "inclusions"),
        _spread("batch_sizes", included.sum(axis=1), units, rate, level),
        _spread("unit_counts", included.sum(axis=0), rounds, rate, level),
        _successive("next_round", included, rate, level),
        _successive("next_but_one", included[1:], rate, level),
        _repeats(included, rate, level),
    )


def _count(name: str, found: int, trials: int, rate: float, level: float, what: str) -> NoiseCheck:
    below, above = stats.binom.cdf(found, trials, rate), stats.binom.sf(found - 1, trials, rate)
    detail = f"{found:,} {what}, expected {trials * rate:,.1f}"
    return judged(name, found / trials, 2 * min(below, above), level, detail)


def _spread(name: str, counts: NDArray[np.int64], trials: int, rate: float, level: float) -> NoiseCheck:
    expected, variance = trials * rate, trials * rate * (1 - rate)
    found = float(np.mean((counts - expected) ** 2))
    values = (np.arange(trials + 1, dtype=np.float64) - expected) ** 2
    chance = _log_chance(found, values, stats.binom.logpmf(np.arange(trials + 1), trials, rate))
    ratio = found / variance if variance else float(found > 0)
    detail = f"spread is {ratio:.3f} times what is expected, over {len(counts):,} counts"
    return judged(name, ratio, 2 * math.exp(len(counts) * chance), level, detail)


def _log_chance(mean: float, values: Floats, log_weights: Floats) -> float:
    """Return a bound on the logarithm, over n, of the chance that n draws have a mean as far out on its side.

    Chernoff's: the least ``K(s) - s mean`` over s of the side's sign, K the cumulants of one draw.
    """
    kept = log_weights > -np.inf
    values, log_weights = values[kept], log_weights[kept]
    centre = float(np.exp(log_weights) @ values)
    if not values.min() * (1 - _ROUNDING) <= mean <= values.max() * (1 + _ROUNDING):
        return -math.inf
    mean = min(max(mean, values.min()), values.max())
    unit = max(math.sqrt(float(np.exp(log_weights) @ (values - centre) ** 2)), 1e-300)
    place = (values - mean) / unit

    def slope(tilt: float) -> float:
        weights = log_weights + tilt * place
        return float(np.exp(weights - weights.max()) @ place)

    if slope(0.0) == 0:
        return 0.0
    far = -1.0 if slope(0.0) > 0 else 1.0
    while slope(far) * far < 0 and abs(far) < _STEEPEST:
        far *= 2
    tilt = float(brentq(slope, min(0.0, far), max(0.0, far))) if slope(far) * far > 0 else far
    return min(0.0, float(logsumexp(log_weights + tilt * place)))


def _successive(name: str, included: Bools, rate: float, level: float) -> NoiseCheck:
    pairs = len(included) // 2
    if not pairs:
        return judged(name, 0.0, 1.0, level, "nothing to compare")
    both = included[0 : 2 * pairs : 2] & included[1 : 2 * pairs : 2]
    return _count(name, int(both.sum()), both.size, rate * rate, level, "in two successive rounds")


def _repeats(included: Bools, rate: float, level: float) -> NoiseCheck:
    rounds, units = included.shape
    packed = np.packbits(included, axis=1)
    equal = rounds - len(np.unique(packed, axis=0))
    chance = math.exp(units * math.log(rate**2 + (1 - rate) ** 2)) * rounds * (rounds - 1) / 2
    detail = f"the same sample twice: {equal} rounds" if equal else f"all {rounds} samples differ"
    return judged("repeats", equal, chance if equal else 1.0, level, detail)
