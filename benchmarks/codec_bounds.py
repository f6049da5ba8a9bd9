"""Rate-distortion bounds for squared error of sources of unit variance: what no codec can go below.

Gaussian: exact. Laplace and Student's t with three degrees of freedom: the algorithm of Blahut and Arimoto (1972) on a
fine grid, kept here as a table that ``python -m benchmarks.codec_sources --bounds`` computes again, and above it
Shannon's lower bound, which is tight there. Several scales: reverse water-filling (Shannon 1959; Cover and Thomas,
chapter 10) over parts whose variances are known.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """D(R) of one source: points (slope, bits, distortion) by rising rate, and the constant of Shannon's bound.

    The slope is -dR/dD in nats; above the last point distortion is ``shannon * 4**-bits``.
    """

    shannon: float
    points: tuple[tuple[float, float, float], ...] = ()

    def distortion(self, bits: float) -> float:
        """Return the least distortion at a rate, between points by a cubic in its logarithm with the true slopes."""
        if not self.points or bits >= self.points[-1][1]:
            return float(self.shannon * 4.0**-bits)
        points = ((0.0, 0.0, 1.0), *self.points)
        left, right = next(pair for pair in pairwise(points) if bits < pair[1][1])
        width = right[1] - left[1]
        place = (bits - left[1]) / width
        start, end = math.log(left[2]), math.log(right[2])
        if left[1] == 0:
            # the slope is infinite at rate 0: a straight line up to the first point, which lies near
            return math.exp(start + place * (end - start))
        ends = [-math.log(2) / (slope * distortion) * width for slope, _, distortion in (left, right)]
        rest = 1 - place
        cubic = start * rest**2 * (1 + 2 * place) + end * place**2 * (3 - 2 * place)
        return math.exp(cubic + ends[0] * place * rest**2 - ends[1] * place**2 * rest)

    def at_slope(self, slopes: Floats) -> tuple[Floats, Floats]:
        """Return bits and distortion where the curve has the slopes; 0 and 1 where even its start is steeper."""
        high = np.maximum(slopes, self.points[-1][0] if self.points else 0.5 / self.shannon)
        bits, distortion = 0.5 * np.log2(self.shannon * 2 * high), 0.5 / high
        if self.points:
            low = slopes < self.points[-1][0]
            table_slopes, table_bits, table_distortion = self._dense
            bits[low] = np.interp(slopes[low], table_slopes, table_bits)
            distortion[low] = np.interp(bits[low], table_bits, table_distortion)
        return bits, distortion

    @cached_property
    def _dense(self) -> tuple[Floats, Floats, Floats]:
        """Slopes, rates and distortions close together, up to the last point."""
        bits = np.linspace(0, self.points[-1][1], 2001)
        distortion = np.array([self.distortion(rate) for rate in bits])
        slopes = -math.log(2) / np.gradient(distortion, bits)
        slopes[0], slopes[-1] = 0, self.points[-1][0]
        return np.maximum.accumulate(slopes), bits, distortion


def water_filling(curve: Curve, variances: Floats, bits: float) -> float:
    """Return the least mean distortion of equally long parts of one shape with known variances, at a mean rate."""
    low, high = 1e-9, 1e30
    for _ in range(200):
        slope = math.sqrt(low * high)
        rates, distortions = curve.at_slope(slope * variances)
        low, high = (slope, high) if rates.mean() < bits else (low, slope)
    return float(np.mean(distortions * variances))


DENSITIES: Mapping[str, tuple[Callable[[Floats], Floats], float, float]] = {
    "laplace": (lambda x: np.exp(-math.sqrt(2) * x), 12.0, 25.0),
    "student-t3": (lambda x: (1 + x * x) ** -2, 8.0, 300.0),
    "gaussian": (lambda x: np.exp(-x * x / 2), 6.0, 9.0),
}
"""Density of the magnitude at unit variance, up to a factor; where the grid begins to widen; where it ends."""


def blahut_arimoto(name: str, slope: float, iterations: int = 20_000) -> tuple[float, float]:
    """Return bits and distortion of the point of a source's curve that has the slope.

    Sources are symmetric, so the grid holds magnitudes: of the source in ``step``, of what stands for it in twice that.
    """
    density, knee, reach = DENSITIES[name]
    step = (0.03 if name != "student-t3" else 0.06) / math.sqrt(2 * slope)
    grow = math.log1p(step / knee)
    tail = knee * np.exp(grow * np.arange(math.ceil(math.log(reach / knee) / grow) + 1))
    grid = np.concatenate([np.arange(0, knee, step), tail])
    mass, marks = density(grid) * np.gradient(grid), grid[::2]
    mass[0] /= 2
    mass /= mass.sum()
    near, far = (grid[:, None] - marks) ** 2, (grid[:, None] + marks) ** 2
    kernel = (np.exp(-slope * near) + np.exp(-slope * far)) / 2
    turned, last = np.ascontiguousarray(kernel.T), math.inf
    weights = density(marks) * np.gradient(marks)
    weights /= weights.sum()
    for iteration in range(iterations):
        mixed = kernel @ weights
        weights = weights * (turned @ (mass / mixed))
        if iteration % 100 == 99:
            value = -float(np.sum(mass * np.log(mixed)))
            if last - value < 1e-7:
                break
            last = value
    weights /= weights.sum()
    mixed = kernel @ weights
    spread = (near * np.exp(-slope * near) + far * np.exp(-slope * far)) / 2
    distortion = float((mass / mixed) @ (spread @ weights))
    return (-float(np.sum(mass * np.log(mixed))) - slope * distortion) / math.log(2), distortion


SLOPES = {
    "laplace": (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.85, 1.0, 1.3, 1.7, 2.5, 4.0, 8.0),
    "student-t3": (0.05, 0.08, 0.12, 0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 4.0, 8.0),
}
"""Where the tables have points."""
