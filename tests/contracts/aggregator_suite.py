"""What every aggregator keeps, as checks that take the aggregator; each has a control that it catches."""

import tracemalloc
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fedcomp.aggregation import Aggregator
from fedcomp.arrays import Array, Arrays

Weighted = tuple[Arrays, int]


def aggregate(aggregator: Aggregator[Any], like: Arrays, updates: Iterable[Weighted]) -> dict[str, Array]:
    """Fold the updates in, one at a time."""
    state = aggregator.init(like)
    for update, num_examples in updates:
        state = aggregator.accumulate(state, update, num_examples)
    return aggregator.finish(state)


def bits(arrays: Arrays) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """Return all there is to compare, to the bit."""
    return [(name, array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()]


def arrival_order_matters(aggregator: Aggregator[Any], updates: Sequence[Weighted], order: Sequence[int]) -> bool:
    """Return whether the updates give another result if they arrive in ``order``."""
    like = updates[0][0]
    return bits(aggregate(aggregator, like, updates)) != bits(aggregate(aggregator, like, [updates[i] for i in order]))


def distance_to_mean(aggregator: Aggregator[Any], updates: Sequence[Weighted]) -> float:
    """Return the largest difference from the mean that float64 gives."""
    total = sum(weight for _, weight in updates)
    found = aggregate(aggregator, updates[0][0], updates)
    worst = 0.0
    for name, array in found.items():
        exact = sum(update[name].astype(np.float64) * weight for update, weight in updates) / total
        worst = max(worst, float(np.max(np.abs(array - exact), initial=0.0)))
    return worst


def peak_bytes(aggregator: Aggregator[Any], size: int, count: int) -> int:
    """Return the most memory that ``count`` updates of ``size`` float32 values need while they are folded in."""
    like = {"a": np.zeros(size, np.float32)}

    def arriving() -> Iterable[Weighted]:
        for index in range(count):
            yield {"a": np.full(size, index / 64, np.float32)}, 1

    tracemalloc.start()
    try:
        aggregate(aggregator, like, arriving())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
