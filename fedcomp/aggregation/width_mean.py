"""The mean of updates of models of several widths: each value is averaged over the clients that have it.

Diao, Ding and Tarokh, *HeteroFL: computation and communication efficient federated learning for heterogeneous clients*
(2021). Sums are exact (``fedcomp.aggregation.grid``), so that the order of arrival never matters.
"""

from dataclasses import dataclass, replace

import numpy as np

from fedcomp.aggregation.base import AggregationError
from fedcomp.aggregation.grid import FRACTION_BITS, check_weight, checked_bound, units
from fedcomp.aggregation.slices import Slices
from fedcomp.arrays import Array, Arrays, zeros_like


@dataclass(frozen=True, eq=False)
class WidthState:
    """What has been counted: integer totals, a bound on their size, and the weight of each width, the whole first."""

    likes: tuple[Arrays, ...]
    totals: dict[str, Array]
    weights: tuple[int, ...]
    bound: float = 0.0


@dataclass(frozen=True, eq=False)
class WidthMean:
    """Folds in whole updates and updates of any of these slices; which one came is told by its shapes.

    A value that no client of the round has gets a mean of exactly 0, so that the model keeps what it is there. The
    divisor of a value is public only where who trains which width is, so no noise can be calibrated to this mean: it is
    for updates that are noised already (mode ``local``), and for mode ``none``. ``weighted`` counts an update as often
    as its client has examples, for mode ``none`` alone.
    """

    slices: tuple[Slices, ...]
    weighted: bool = False

    def init(self, like: Arrays) -> WidthState:
        """Return the empty sum for a whole model ``like`` this one; see ``Aggregator.init``.

        Raises:
            ArraysError: if one of the slices does not fit it.
        """
        likes = (zeros_like(like), *(_narrow(each, like) for each in self.slices))
        totals = {name: np.zeros(array.shape, np.int64) for name, array in like.items()}
        return WidthState(likes, totals, (0,) * len(likes))

    def accumulate(self, state: WidthState, update: Arrays, num_examples: int = 1) -> WidthState:
        """Add one update where it has values; see ``Aggregator.accumulate``."""
        check_weight(num_examples, weighted=self.weighted)
        width = _width(state, update)
        bound = checked_bound(state.likes[width], update, num_examples, state.bound)
        for name, total in state.totals.items():
            total[self._index(width, name, total)] += units(update[name], num_examples)
        weights = tuple(weight + num_examples * (at == width) for at, weight in enumerate(state.weights))
        return replace(state, weights=weights, bound=bound)

    def finish(self, state: WidthState) -> dict[str, Array]:
        """Return the mean, 0 where nobody has a value; see ``Aggregator.finish``."""
        if not any(state.weights):
            raise AggregationError("expected at least one update to aggregate, got none")
        return {name: self._mean(name, state) for name in state.totals}

    def _mean(self, name: str, state: WidthState) -> Array:
        total, counts = state.totals[name], np.zeros(state.totals[name].shape, np.int64)
        for width, weight in enumerate(state.weights):
            counts[self._index(width, name, counts)] += weight
        found = np.zeros(total.shape, np.float64)
        np.divide(total, 2.0**FRACTION_BITS * counts, out=found, where=counts > 0)
        return np.asarray(found, dtype=state.likes[0][name].dtype)

    def _index(self, width: int, name: str, whole: Array) -> tuple[Array, ...]:
        return self.slices[width - 1].index(name, whole) if width else ()


def _narrow(slices: Slices, like: Arrays) -> Arrays:
    """Return zeros that take no memory, since only their shapes and dtypes are asked for."""
    for name, array in like.items():
        slices.index(name, array)  # refuses what does not fit
    return {name: np.broadcast_to(array.dtype.type(0), slices.shape(name)) for name, array in like.items()}


def _width(state: WidthState, update: Arrays) -> int:
    """Return which of the widths has these shapes; the whole one if none has, whose check then names what is wrong."""
    shapes = {name: array.shape for name, array in update.items()}
    fits = (at for at, like in enumerate(state.likes) if {name: a.shape for name, a in like.items()} == shapes)
    return next(fits, 0)
