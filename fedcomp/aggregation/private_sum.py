"""The sum of updates under mode ``central``: clipped once more on the server, noised, times a public constant."""

from dataclasses import dataclass

from fedcomp.aggregation.base import AggregationError
from fedcomp.arrays import Array, Arrays, ArraysError, scale, zeros_like
from fedcomp.crypto import SecretStream
from fedcomp.privacy import ClippedSum, GaussianMechanism
from fedcomp.rng import Randomness


@dataclass(frozen=True)
class PrivateSum:
    """Folds updates into a ``ClippedSum``, and releases it with noise; nothing of it can be had without.

    ``factor`` is a public constant: the mean over the clients that are expected, say, and never over those that came.
    ``clips`` says whether each update is one unit's, to be clipped here; otherwise it is a sum of many units' parts
    that were clipped where they were made.
    """

    mechanism: GaussianMechanism
    factor: float
    clips: bool

    def init(self, like: Arrays) -> ClippedSum:
        """Return the empty sum; see ``Aggregator.init``."""
        return ClippedSum.zero(self.mechanism, zeros_like(like))

    def accumulate(self, state: ClippedSum, update: Arrays, num_examples: int = 1) -> ClippedSum:
        """Add one update with weight one; see ``Aggregator.accumulate``."""
        if num_examples != 1:
            raise AggregationError("num_examples must be 1 in a private sum, got another weight")
        try:
            return state.add(update) if self.clips else state.add_sum(update)
        except ArraysError as error:
            raise AggregationError(str(error)) from error

    def release(self, state: ClippedSum, rng: Randomness | None = None) -> dict[str, Array]:
        """Return the noised sum times the factor; the event is charged already.

        The noise is from a secret stream of this call's own; ``rng`` is for tests and the auditor alone.
        """
        return scale(self.mechanism.noise(state, rng or SecretStream()).arrays, self.factor)
