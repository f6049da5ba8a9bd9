"""The mean of updates that all have the same shapes, summed exactly (``fedcomp.aggregation.grid``)."""

from dataclasses import dataclass, replace

import numpy as np

from fedcomp.aggregation.base import AggregationError
from fedcomp.aggregation.grid import FRACTION_BITS, check_weight, checked_bound, units
from fedcomp.arrays import Array, Arrays, zeros_like


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
        check_weight(num_examples, weighted=self.weighting == "examples")
        bound = checked_bound(state.like, update, num_examples, state.bound)
        for name, array in update.items():
            state.totals[name] += units(array, num_examples)
        return replace(state, weight=state.weight + num_examples, bound=bound)

    def finish(self, state: SumState) -> dict[str, Array]:
        """Return the mean; see ``Aggregator.finish``."""
        if state.weight == 0:
            raise AggregationError("expected at least one update to aggregate, got none")
        # divided, not multiplied by 1 / units: the mean of equal updates is that update, which takes a single rounding
        divisor = 2.0**FRACTION_BITS * state.weight
        return {name: np.asarray(total / divisor, dtype=state.like[name].dtype) for name, total in state.totals.items()}


class ExampleWeightedMean(UniformMean):
    """Every update counts as often as its client has examples (McMahan et al. 2017): for mode ``none`` alone."""

    weighting = "examples"
