"""What a private training draws from, where a test or an auditor needs to set it."""

from dataclasses import dataclass

from fedcomp.rng import Randomness


@dataclass(frozen=True)
class Draws:
    """Batches and noise, set apart: for tests and for the auditor alone.

    An auditor replays a round with the same batches and other noise, or with real batches and none. What is drawn from
    here is not secret, so an event that comes of it is ``NonPrivate``, whatever the streams are.
    """

    batches: Randomness
    noise: Randomness
