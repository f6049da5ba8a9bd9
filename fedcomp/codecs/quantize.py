"""What the quantizers share: peak, step, scale and rounding."""

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError

MIN_STEP_RMS, MAX_STEP_RMS = 1e-3, 1e3
"""Limits of a step in units of the root mean square: 2**28 values then need levels below 2**25."""


def peak_of(values: Array) -> float:
    """Return the largest magnitude, 0 if there are no values."""
    return max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))


def relative_step(values: Array, step_rms: float) -> np.float32:
    """Return ``step_rms`` times the root mean square of the values, 0 if that is no normal float32."""
    if not values.size:
        return np.float32(0)
    rms = float(np.sqrt(np.sum(np.square(values, dtype=np.float64)) / values.size))
    step = np.float32(step_rms * rms)
    return step if step >= np.finfo(np.float32).tiny else np.float32(0)


def read_scale(stream: Array) -> np.float32:
    """Return the scale that a stream of one float32 holds.

    Raises:
        PayloadError: if it is negative, infinite or not a number.
    """
    scale = np.float32(stream[0])
    if not (np.isfinite(scale) and scale >= 0):
        raise PayloadError(f"expected a scale that is finite and not negative, got {scale}")
    return scale


def round_levels(scaled: Array, rng: np.random.Generator | None) -> NDArray[np.float32]:
    """Return float32 values rounded to whole numbers: to the nearest, ties to even, or unbiased by chance from ``rng``.

    The share that decides is computed without a rounding of its own, so that large levels are unbiased too.
    """
    if rng is None:
        return np.asarray(np.rint(scaled), dtype=np.float32)
    low = np.floor(scaled)
    low += rng.random(scaled.size, dtype=np.float32) < scaled - low
    return np.asarray(low, dtype=np.float32)
