"""The contract of an aggregator: ``init``, ``accumulate`` once an update, ``finish``.

The order in which updates arrive never changes the result, not by a bit. One update is in memory at a time. An
aggregator of private updates is unweighted by type: it refuses ``num_examples``, because a weight both releases the
number of examples and multiplies the sensitivity. Nothing to aggregate is refused, never 0/0.
"""

from typing import Protocol, TypeVar

from fedcomp.arrays import Array, Arrays
from fedcomp.errors import FedcompError

State = TypeVar("State")


class AggregationError(FedcompError):
    """An update that cannot be counted, or a round that has none."""


class Aggregator(Protocol[State]):
    """Folds updates into one."""

    def init(self, like: Arrays) -> State:
        """Return the empty state for updates with the names, shapes and dtypes of ``like``."""
        ...

    def accumulate(self, state: State, update: Arrays, num_examples: int = 1) -> State:
        """Return the state with one more update in it; ``state`` is consumed.

        Raises:
            AggregationError: if the update does not fit, holds NaN or infinity, or is too large to be summed exactly.
                Nothing has changed then, and the round may go on without it.
        """
        ...

    def finish(self, state: State) -> dict[str, Array]:
        """Return the aggregate; raises ``AggregationError`` if no update was counted."""
        ...
