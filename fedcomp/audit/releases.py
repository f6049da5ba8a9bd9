"""The run's own code for one release, fed with units that the auditor makes up.

A *unit* is a row ``[dimension]``: what one example or one client would contribute if nothing clipped it. A release is
observed in units of the noised sum, so that bound, noise and sampling can be read off it whatever the mode: the public
factor (learning rate, batch size, cohort) is divided out again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array, Arrays
from fedcomp.rng import Randomness
from fedcomp.training import Draws

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReleaseTerms:
    """What is declared about one release, and has to be true of the code.

    Attributes:
        unit: ``example`` or ``client``.
        sensitivity: L2 norm by which one unit that takes part may move the sum.
        noise_std: absolute standard deviation of the noise on each coordinate of the sum.
        sampling_probability: chance of a unit to take part; 1 if all do.
        noise_calls: how often noise is drawn for one release.
    """

    unit: str
    sensitivity: float
    noise_std: float
    sampling_probability: float
    noise_calls: int


class ReleaseCode(Protocol):
    """The code under audit. It is never changed for the audit: only its units are made up."""

    @property
    def terms(self) -> ReleaseTerms:
        """What is declared."""
        ...

    @property
    def dimension(self) -> int:
        """Coordinates of a unit and of the release; the last one belongs to an array of its own."""
        ...

    def observe(self, units: Floats, draws: Draws | None = None) -> Floats:
        """Return one release ``[dimension]`` over ``units`` ``[n, dimension]``; by secret draws unless some are given.

        The last coordinate of a unit of examples must not be 0 unless the whole row is.
        """
        ...

    def many(self, units: Floats, releases: int) -> Iterator[Floats]:
        """Yield so many releases over the same units, each by secret draws of its own."""
        ...

    def unsampled(self) -> "ReleaseCode":
        """Return the same code with every unit in every release."""
        ...

    def sampled(self, population: int, batches: Randomness | None = None) -> NDArray[np.bool_]:
        """Return which of ``population`` units ``[population]`` took part in one release by secret draws."""
        ...


def as_arrays(vector: NDArray[Any]) -> dict[str, Array]:
    """Return a unit as the arrays of a layer: ``weight`` ``[1, dimension - 1]`` and ``bias`` ``[1]``, float32."""
    single = np.asarray(vector, np.float32)
    return {"weight": single[None, :-1].copy(), "bias": single[-1:].copy()}


def as_vector(arrays: Arrays) -> Floats:
    """Return the arrays of a layer as one row ``[dimension]``."""
    return np.concatenate([arrays["weight"].astype(np.float64)[0], arrays["bias"].astype(np.float64)])
