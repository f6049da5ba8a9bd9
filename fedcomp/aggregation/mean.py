"""The mean of updates, summed exactly.

Sums are kept in 64-bit integers, in units of 2**-40, because integer addition is associative: the mean does not depend
on the order in which clients answer, on how many worker processes there are, or on the engine. Rounding to that grid
costs at most 2**-41 (5e-13) a value.
"""

import reprlib
from dataclasses import dataclass, replace

import numpy as np

from fedcomp.aggregation.base import AggregationError
from fedcomp.arrays import Array, Arrays, ArraysError, check_alike, check_finite, zeros_like

FRACTION_BITS = 40
MAX_EXAMPLES = 2**32
"""The largest ``num_examples`` that is believed; a weight beyond it would be a way to mute everybody else."""
_LIMIT = 2.0 ** (62 - FRACTION_BITS)
"""The largest sum of absolute values that certainly fits; a round of updates beyond it is refused."""


@dataclass(frozen=True)
class SumState:
    """What has been counted: integer totals, their weight, and a bound on their size."""

    like: Arrays
    totals: dict[str, Array]
    weight: int = 0
    bound: float = 0.0


class UniformMean:
    """Every update counts the same (McMahan et al. 2017 with equal weights): the only mean that private modes may use.

    ``num_examples`` other than 1 is refused, so a weighted private mean cannot be built by accident.
    """

    weighting = "uniform"

    def init(self, like: Arrays) -> SumState:
        """Return the empty sum; see ``Aggregator.init``."""
        return SumState(like=zeros_like(like), totals={name: np.zeros(a.shape, np.int64) for name, a in like.items()})

    def accumulate(self, state: SumState, update: Arrays, num_examples: int = 1) -> SumState:
        """Add one update; see ``Aggregator.accumulate``."""
        if num_examples != 1:
            raise AggregationError(f"num_examples must be 1 in a uniform mean, got {reprlib.repr(num_examples)}")
        return _add(state, update, 1)

    def finish(self, state: SumState) -> dict[str, Array]:
        """Return the mean; see ``Aggregator.finish``."""
        return _mean(state)


class ExampleWeightedMean(UniformMean):
    """Every update counts as often as its client has examples (McMahan et al. 2017): for mode ``none`` alone."""

    weighting = "examples"

    def accumulate(self, state: SumState, update: Arrays, num_examples: int = 1) -> SumState:
        """Add one update ``num_examples`` times; see ``Aggregator.accumulate``."""
        if not 1 <= num_examples <= MAX_EXAMPLES:
            raise AggregationError(f"num_examples must be in [1, {MAX_EXAMPLES}], got {reprlib.repr(num_examples)}")
        return _add(state, update, num_examples)


def _add(state: SumState, update: Arrays, weight: int) -> SumState:
    try:
        check_alike(state.like, update)
        check_finite(update)
    except ArraysError as error:
        raise AggregationError(str(error)) from error
    peak = max((float(np.max(np.abs(array))) for array in update.values() if array.size), default=0.0)
    bound = state.bound + peak * weight
    if bound > _LIMIT:
        raise AggregationError(f"values times weights must sum to at most {_LIMIT:.3g} in a round, got {bound:.3g}")
    for name, array in update.items():
        units = np.asarray(np.multiply(array, weight * 2.0**FRACTION_BITS, dtype=np.float64))
        state.totals[name] += np.rint(units, out=units).astype(np.int64)
    return replace(state, weight=state.weight + weight, bound=bound)


def _mean(state: SumState) -> dict[str, Array]:
    if state.weight == 0:
        raise AggregationError("expected at least one update to aggregate, got none")
    # divided, not multiplied by 1 / units: the mean of equal updates is that update, which takes a single rounding
    units = 2.0**FRACTION_BITS * state.weight
    return {name: np.asarray(total / units, dtype=state.like[name].dtype) for name, total in state.totals.items()}
