"""What each client's link carries, measured by the server from its own exchanges."""

from dataclasses import dataclass

_SMOOTHING = 0.5


@dataclass(frozen=True)
class Link:
    """One client's link: a lower bound on its rate, smoothed over exchanges.

    The time between sending a model and receiving an update, less what the client says that it computed, went by on the
    link or in queues; so the true rate is at least this.
    """

    bytes_per_second: float | None = None

    def observe(self, num_bytes: int, elapsed: float, busy: float) -> "Link":
        """Return the link after an exchange of ``num_bytes`` in both directions; a claim that cannot be is ignored.

        Args:
            num_bytes: bytes in both directions.
            elapsed: seconds from sending to receiving.
            busy: seconds of these that the client says it computed.
        """
        if not 0 <= busy < elapsed:
            return self
        rate = num_bytes / (elapsed - busy)
        if self.bytes_per_second is None:
            return Link(rate)
        return Link(_SMOOTHING * self.bytes_per_second + (1 - _SMOOTHING) * rate)

    def max_bytes(self, seconds: float | None) -> int | None:
        """Return what the link carries in ``seconds``; None if that is not asked for, or nothing was measured yet."""
        if seconds is None or self.bytes_per_second is None:
            return None
        return max(int(self.bytes_per_second * seconds), 1)
