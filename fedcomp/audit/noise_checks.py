"""Is it the noise that was claimed? Its scale, its shape, and that no draw knows of another.

All checks of one call together raise a false alarm with probability ``alpha``: each is tested at ``alpha`` over their
number, and within a check the number of pairs or lags is accounted for. The default is 1e-6, because noise is secret,
cannot be drawn again with a fixed seed, and audits run wherever tests do.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

Floats = NDArray[np.float64]

ALPHA = 1e-6
_CHECKS = 7
_SAME = 0.999
"""Cosine from which two vectors are called the same up to sign and scale."""
_BLOCK, _COLUMNS = 1024, 2048
_LEAST_COORDINATES = 4
_LEAST_PRODUCTS = 4000
"""A sum of so many products is near enough to normal as far out as p-values are looked at here."""


@dataclass(frozen=True)
class NoiseCheck:
    """One question, and its answer: ``holds`` unless the p-value is below the level of the check.

    ``p_value`` is at least the probability of a statistic as far out if all is as claimed.
    """

    name: str
    holds: bool
    statistic: float
    p_value: float
    detail: str


def check_noise(samples: Floats, noise_std: float, *, alpha: float = ALPHA) -> tuple[NoiseCheck, ...]:
    """Check noise ``[rounds, coordinates]`` against independent normal draws of mean 0 and deviation ``noise_std``.

    - ``scale``: the sum of squares, two-sided (chi-square, exact).
    - ``shape``: distance to the normal of the same root mean square (Kolmogorov and Smirnov; on the safe side, because
      the deviation is fitted). Noise on a grid far below ``noise_std`` is no matter.
    - ``mean``: the mean of all, two-sided (exact).
    - ``rounds``: the largest cosine between two rounds (exact, all pairs).
    - ``coordinates``: the same between two coordinates; beyond 2048 of them, of as many evenly spread.
    - ``lags``: the autocorrelation of the rounds laid end to end, at every lag with 4000 products or more: a stream
      that starts again, or a block that is tiled.
    - ``repeats``: no two rounds are the same noise, bit for bit or up to sign and scale (from 4 coordinates on: fewer
      may be equal by chance, where floats are coarse).

    With n samples in all, ``scale`` finds a deviation of ``1 - x`` of what is claimed in all but a share
    ``Phi((5.3 - (2x - x^2) sqrt(n/2)) / (1 - x)^2)`` of cases at the default level: with n = 2e5 it misses x = 0.1 and
    x = 0.05 with probability below 1e-100, and x = 0.01 in about one case of seven. Of 300 rounds, ``rounds`` finds a
    pair of correlation ``8.5 / sqrt(coordinates)`` in nine cases of ten.

    Raises:
        ValueError: for another shape, NaN or infinity, or a value out of range.
    """
    noise = _matrix("samples", samples)
    if not (math.isfinite(noise_std) and noise_std > 0):
        raise ValueError(f"noise_std must be finite and above 0, got {noise_std}")
    level = _check_alpha(alpha) / _CHECKS
    unit = noise / noise_std
    return (
        _scale(unit, level),
        _shape(unit, level),
        _mean(unit, level),
        _pairs("rounds", unit, level),
        _pairs("coordinates", unit[:, _spread(unit.shape[1])].T, level),
        _lags(unit.ravel(), level),
        _repeats("repeats", unit, level),
    )


def judged(name: str, statistic: float, p_value: float, level: float, detail: str) -> NoiseCheck:
    """Return the check, which holds if ``p_value`` is at least ``level``; a p-value above 1 is 1."""
    p_value = min(1.0, float(p_value))
    return NoiseCheck(name, p_value >= level, float(statistic), p_value, detail)


def _scale(unit: Floats, level: float) -> NoiseCheck:
    total = float(np.sum(unit * unit))
    tail = 2 * min(stats.chi2.cdf(total, unit.size), stats.chi2.sf(total, unit.size))
    ratio = math.sqrt(total / unit.size)
    return judged(
        "scale", ratio, tail, level, f"deviation is {ratio:.4f} of what is claimed, over {unit.size:,} samples"
    )


def _shape(unit: Floats, level: float) -> NoiseCheck:
    size, spread = unit.size, math.sqrt(float(np.mean(unit * unit)))
    if spread == 0:
        return judged("shape", 1.0, 0.0, level, "every sample is 0")
    below = stats.norm.cdf(np.sort(unit, axis=None) / spread)
    steps = np.arange(size + 1) / size
    distance = float(max(np.max(below - steps[:-1]), np.max(steps[1:] - below)))
    tail = stats.kstwo.sf(distance, size)
    return judged("shape", distance, tail, level, f"distance {distance:.2g} from the normal of the same deviation")


def _mean(unit: Floats, level: float) -> NoiseCheck:
    score = float(unit.mean()) * math.sqrt(unit.size)
    return judged("mean", score, 2 * stats.norm.sf(abs(score)), level, f"mean is {score:.2f} standard errors from 0")


def _pairs(name: str, rows: Floats, level: float) -> NoiseCheck:
    count, size = rows.shape
    pairs = count * (count - 1) // 2
    if not pairs or size < 2:
        return judged(name, 0.0, 1.0, level, "nothing to compare")
    cosine, first, second = max(_largest_cosines(rows), key=lambda found: abs(found[0]))
    # exact for normal vectors of mean 0, also far out, where Fisher's z is not
    tail = pairs * stats.beta.sf(min(cosine * cosine, 1.0), 0.5, (size - 1) / 2)
    return judged(
        name, cosine, tail, level, f"largest cosine {cosine:.3f}, of {first} and {second}, over {pairs:,} pairs"
    )


def _lags(series: Floats, level: float) -> NoiseCheck:
    size, power = len(series), float(series @ series)
    lags = size - _LEAST_PRODUCTS
    if lags < 1 or power == 0:
        return judged("lags", 0.0, 1.0, level, f"nothing to compare: {size:,} samples")
    length = fft.next_fast_len(2 * size, real=True)
    products = fft.irfft(np.abs(fft.rfft(series, length)) ** 2, length)[1 : lags + 1]
    scores = products / (power / size) / np.sqrt(size - np.arange(1, lags + 1))
    top = int(np.argmax(np.abs(scores)))
    tail = lags * 2 * stats.norm.sf(abs(scores[top]))
    detail = f"largest at lag {top + 1}, {scores[top]:.2f} standard errors, over {lags:,} lags"
    return judged("lags", float(scores[top]), tail, level, detail)


def _repeats(name: str, rows: Floats, level: float) -> NoiseCheck:
    count, size = rows.shape
    if size < _LEAST_COORDINATES:
        return judged(name, 0.0, 1.0, level, f"nothing to compare: {size} coordinates")
    equal = count - len(np.unique(rows, axis=0))
    if equal:
        return NoiseCheck(name, False, equal, 0.0, f"the same noise twice: {equal} of {count} equal an earlier one")
    alike = [found for found in _largest_cosines(rows) if abs(found[0]) >= _SAME]
    tail = count * (count - 1) / 2 * stats.beta.sf(_SAME**2, 0.5, (size - 1) / 2) if alike else 1.0
    detail = f"all {count} differ"
    if alike:
        cosine, one, other = max(alike, key=lambda found: abs(found[0]))
        detail = f"the same noise twice, up to sign and scale: {one} and {other} have cosine {cosine:.4f}"
    return judged(name, len(alike), tail, level, detail)


def _largest_cosines(rows: Floats) -> Iterator[tuple[float, int, int]]:
    """Yield the largest cosine, by magnitude, of each block of pairs, and which two rows have it."""
    length = np.sqrt(np.sum(rows * rows, axis=1, keepdims=True))
    unit = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    for top in range(0, len(unit), _BLOCK):
        for left in range(0, top + 1, _BLOCK):
            cosines = unit[top : top + _BLOCK] @ unit[left : left + _BLOCK].T
            if left == top:
                cosines[np.triu_indices(len(cosines))] = 0.0
            first, second = np.unravel_index(int(np.argmax(np.abs(cosines))), cosines.shape)
            yield float(cosines[first, second]), left + int(second), top + int(first)


def _spread(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(count, _COLUMNS)).astype(np.int64))


def _matrix(name: str, values: Floats) -> Floats:
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"{name} must be a matrix with at least one row and column, got shape {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return matrix


def _check_alpha(alpha: float) -> float:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    return alpha
