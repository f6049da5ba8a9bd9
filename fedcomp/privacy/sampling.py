"""Samplers that carry their own privacy event: what was drawn and what is accounted come from one object.

Subsampled accounting is only right for Poisson sampling: every unit is drawn independently with one public
probability, batches differ in size, and an empty one is a batch like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import dp_accounting as dp
import numpy as np
from numpy.typing import NDArray

from fedcomp.privacy.events import DpEvent
from fedcomp.rng import Randomness

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class PoissonSampler:
    """Poisson batches of one client's examples.

    ``sampling_probability`` and ``steps`` are public constants. ``population`` is how many examples the client really
    holds; it is private, so nothing public may follow from it: not the number of steps, not the divisor of a sum.
    """

    population: int = field(repr=False)
    sampling_probability: float
    steps: int

    def __post_init__(self) -> None:
        if self.population < 0:
            raise ValueError(f"population must not be negative, got {self.population}")
        if not 0 < self.sampling_probability <= 1:
            raise ValueError(f"sampling_probability must be in (0, 1], got {self.sampling_probability}")
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")

    def batches(self, rng: Randomness) -> Iterator[Indices]:
        """Yield exactly ``steps`` ascending index batches; an empty one is yielded too, never skipped or drawn again.

        ``rng`` is a secret stream (``fedcomp.crypto.SecretStream``) wherever privacy is claimed: amplification holds
        only while nobody knows who was drawn.
        """
        for _ in range(self.steps):
            yield np.flatnonzero(rng.random(self.population) < self.sampling_probability)

    def event(self, noise_multiplier: float) -> DpEvent:
        """Return what one pass over ``batches`` is, if each step adds Gaussian noise of that multiplier to its sum."""
        inner = dp.GaussianDpEvent(noise_multiplier) if noise_multiplier else dp.NonPrivateDpEvent()
        return dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(self.sampling_probability, inner), self.steps)


@dataclass(frozen=True)
class CohortSampler:
    """Which of the registered clients take part in a round.

    Attributes:
        population: registered clients; fixed and public. Never "whoever is online now": that is not a sample.
        kind: ``all`` takes everybody, ``fixed`` takes ``size`` of them without replacement, ``bernoulli`` takes each
            independently with probability ``size / population``.
        size: clients a round; the expected number under ``bernoulli``.
    """

    population: int
    kind: Literal["all", "fixed", "bernoulli"] = "all"
    size: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("all", "fixed", "bernoulli"):
            raise ValueError(f"kind must be 'all', 'fixed' or 'bernoulli', got {self.kind!r}")
        if self.population < 1:
            raise ValueError(f"population must be at least 1, got {self.population}")
        if (self.kind == "all") != (self.size is None):
            raise ValueError(
                f"size must be given for 'fixed' and 'bernoulli' and left out for 'all', got {self.size!r}"
            )
        if self.size is not None and not 1 <= self.size <= self.population:
            raise ValueError(f"size must be in [1, {self.population}], got {self.size}")

    @property
    def sampling_probability(self) -> float:
        """The chance of one client to be in one cohort."""
        return 1.0 if self.size is None else self.size / self.population

    @property
    def amplification(self) -> Literal["none", "poisson"]:
        """What the accountant may claim: ``poisson`` under ``bernoulli`` with a secret stream, otherwise ``none``.

        A fixed-size cohort claims none: when one client is taken away another gets its place (see ``moves``).
        """
        return "poisson" if self.kind == "bernoulli" else "none"

    @property
    def moves(self) -> float:
        """How many times the bound the sum moves if one registered client more or less is there.

        Twice under ``fixed``: an update goes and another comes in its place.
        """
        return 2.0 if self.kind == "fixed" else 1.0

    def cohort(self, rng: np.random.Generator) -> Indices:
        """Return the ascending indices of one round's clients; empty is possible under ``bernoulli``."""
        if self.kind == "bernoulli":
            return self.chosen(rng)
        if self.size is None:
            return np.arange(self.population)
        return np.sort(rng.choice(self.population, size=self.size, replace=False))

    def chosen(self, rng: Randomness) -> Indices:
        """Return the cohort of ``bernoulli`` from a secret stream, which amplification needs."""
        return np.flatnonzero(rng.random(self.population) < self.sampling_probability)

    def event(self, noise_multiplier: float) -> DpEvent:
        """Return what one round is, if it adds Gaussian noise of that multiplier to the sum over the cohort.

        The multiplier is relative to the bound on one update; the event's is relative to what one client moves.
        """
        inner = dp.GaussianDpEvent(noise_multiplier / self.moves) if noise_multiplier else dp.NonPrivateDpEvent()
        return dp.PoissonSampledDpEvent(self.sampling_probability, inner) if self.kind == "bernoulli" else inner
