"""Accounting turned around: the noise that a target needs, and what each round of a planned run will have cost."""

import math

import dp_accounting as dp
from scipy.optimize import brentq

from fedcomp.privacy.accounting import check_delta, coarse_epsilon, epsilon, on_grid
from fedcomp.privacy.events import Event, flatten

_SCHEDULE_POINTS = 5000
_LARGEST_NOISE = 1e6


def calibrate_noise_multiplier(
    target_epsilon: float, delta: float, sampling_probability: float, steps: int
) -> float:
    """Return the least noise multiplier, to four decimals, whose epsilon over ``steps`` Poisson batches is in the target.

    The epsilon reached is at most ``target_epsilon`` and more than 99 % of it. Rounding up to four decimals is what lets
    two machines whose last bits differ agree on the number.

    Raises:
        ValueError: for a target that is not above 0, or so small that no noise multiplier below 1e6 reaches it; for a
            delta, probability or number of steps out of range.
    """
    check_delta(delta)
    if not (math.isfinite(target_epsilon) and target_epsilon > 0):
        raise ValueError(f"target_epsilon must be finite and above 0, got {target_epsilon}")
    if not 0 < sampling_probability <= 1:
        raise ValueError(f"sampling_probability must be in (0, 1], got {sampling_probability}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
'''
'''
