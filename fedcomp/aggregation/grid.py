"""The grid on which updates are summed exactly.

Sums are kept in 64-bit integers, in units of 2**-40, because integer addition is associative: a mean does not depend
on the order in which clients answer, on how many worker processes there are, or on the engine. Rounding to that grid
costs at most 2**-41 (5e-13) a value.
"""

import reprlib

import numpy as np

from fedcomp.aggregation.base import AggregationError
from fedcomp.arrays import Array, Arrays, ArraysError, check_alike, check_finite

FRACTION_BITS = 40
MAX_EXAMPLES = 2**32
"""The largest ``num_examples`` that is believed; a weight beyond it would be a way to mute everybody else."""
_LIMIT = 2.0 ** (62 - FRACTION_BITS)
"""The largest sum of absolute values that certainly fits; a round of updates beyond it is refused."""


def units(array: Array, weight: int) -> Array:
    """Return ``weight`` times the array in units of the grid, as int64."""
    scaled = np.asarray(np.multiply(array, weight * 2.0**FRACTION_BITS, dtype=np.float64))
    return np.asarray(np.rint(scaled, out=scaled), np.int64)


def checked_bound(like: Arrays, update: Arrays, weight: int, bound: float) -> float:
    """Return the bound on a sum's absolute values once the update is in it; ``bound`` is what it was before.

    Raises:
        AggregationError: if the update is not like ``like``, holds NaN or infinity, or the sum might not fit.
    """
    try:
        check_alike(like, update)
        check_finite(update)
    except ArraysError as error:
        raise AggregationError(str(error)) from error
    peak = max((float(np.max(np.abs(array))) for array in update.values() if array.size), default=0.0)
    bound += peak * weight
    if bound > _LIMIT:
        raise AggregationError(f"values times weights must sum to at most {_LIMIT:.3g} in a round, got {bound:.3g}")
    return bound


def check_weight(num_examples: int, *, weighted: bool) -> None:
    """Refuse a weight other than 1 in a uniform mean, and one that nobody can hold in a weighted mean.

    Raises:
        AggregationError: naming what came.
    """
    if not weighted and num_examples != 1:
        raise AggregationError(f"num_examples must be 1 in a uniform mean, got {reprlib.repr(num_examples)}")
    if not 1 <= num_examples <= MAX_EXAMPLES:
        raise AggregationError(f"num_examples must be in [1, {MAX_EXAMPLES}], got {reprlib.repr(num_examples)}")
