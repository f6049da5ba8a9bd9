"""Mechanisms: a value that clips, knows its sensitivity, adds the noise that this sensitivity asks for, and says what
was done as a privacy event.

The wrong stack does not exist. Noise goes onto a ``ClippedSum`` alone; a ``ClippedSum`` clips every update itself, by
the mechanism that will add the noise, and has no argument for a weight. So the noise of a round uses the bound that
its updates were clipped by, and a weighted private mean cannot be built: a weight put onto an update beforehand is
clipped away with it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import dp_accounting as dp
import numpy as np

from fedcomp.arrays import Array, Arrays, ArraysError, check_alike, check_finite, l2_norm
from fedcomp.privacy.events import DpEvent
from fedcomp.rng import Randomness

_FRACTION_BITS, _MOST_UNITS, _MOST_NOISE = 44, 2.0**61, 2.0**12
"""Ten deviations of the most noise, and the largest sum, are below 2**62 together."""


@dataclass(frozen=True, eq=False)
class PrivateUpdate:
    """Arrays that are noised already, and the event that says how: everything done to them is post-processing.

    Only code that has just added the noise makes one. Functions that would leak from raw arrays (a data-dependent
    codec, a log of norms) ask for this type.
    """

    arrays: Arrays
    event: DpEvent

    def post_process(self, function: Callable[[Arrays], Arrays]) -> "PrivateUpdate":
        """Return ``function`` of the arrays under the same event; ``function`` must see no private data besides."""
        return PrivateUpdate(function(self.arrays), self.event)


class Mechanism(Protocol):
    """Contract: clip, sum, noise, and an event that is exactly what was done.

    Promises: an update of norm zero comes back unchanged; integers, NaN and infinity are refused by the array's name;
    the L2 norm of all arrays as one vector is at most ``sensitivity`` after ``clip``, in the arrays' own dtype too;
    input is never written to; noise of zero is a ``NonPrivateDpEvent``.
    """

    @property
    def sensitivity(self) -> float:
        """How far one unit's presence can move the sum, in L2 norm, under add-or-remove-one."""
        ...

    @property
    def grid(self) -> float:
        """The unit in which sums and noise are whole numbers: a power of two, far below bound and noise."""
        ...

    @property
    def event(self) -> DpEvent:
        """The event of one call of ``noise``, without amplification by sampling: that is the sampler's to say."""
        ...

    def clip(self, arrays: Arrays) -> tuple[dict[str, Array], float]:
        """Return the clipped arrays and the L2 norm before clipping (private: a release of it is an event)."""
        ...

    def noise(self, total: "ClippedSum", rng: Randomness) -> PrivateUpdate:
        """Return the sum plus noise; ``rng`` is a secret stream wherever privacy is claimed."""
        ...


@dataclass(frozen=True, eq=False)
class ClippedSum:
    """The unweighted sum of updates, each clipped here by one mechanism; zero updates is a sum too.

    Make one with ``ClippedSum.zero`` and ``add``. Sums are kept in integers, in units of the mechanism's ``grid``, to
    which values are rounded toward zero: rounding never moves the bound, and the order of updates never the sum.
    """

    mechanism: Mechanism
    like: Arrays = field(repr=False)
    units: Arrays = field(repr=False)
    """Integer totals by array."""
    reach: float = 0.0
    """No total is larger in magnitude than this."""

    @classmethod
    def zero(cls, mechanism: Mechanism, like: Arrays) -> "ClippedSum":
        """Return the empty sum of updates that have the names, shapes and dtypes of ``like``."""
        check_finite(like)
        return cls(mechanism, like, {name: np.zeros(array.shape, np.int64) for name, array in like.items()})

    @property
    def total(self) -> dict[str, Array]:
        """The sum in float64."""
        return {name: np.asarray(units * self.mechanism.grid) for name, units in self.units.items()}

    def add(self, update: Arrays) -> "ClippedSum":
        """Return the sum with one more update, clipped, with weight one.

        Raises:
            ArraysError: if names, shapes or dtypes differ from the others', or a value is not finite.
        """
        check_alike(self.like, update)
        clipped, _ = self.mechanism.clip(update)
        return self._plus(clipped)

    def add_sum(self, trusted: Arrays) -> "ClippedSum":
        """Return the sum with a sum of many units' parts in it, each of which was clipped where it was made.

        Nothing here can check that: whoever sends ``trusted`` is trusted to have clipped by this mechanism's bound.

        Raises:
            ArraysError: as ``add``; also if it is too large to be summed exactly.
        """
        check_alike(self.like, trusted)
        check_finite(trusted)
        return self._plus(trusted)

    def _plus(self, update: Arrays) -> "ClippedSum":
        peak = max((float(np.max(np.abs(array), initial=0)) for array in update.values()), default=0.0)
        reach = self.reach + peak / self.mechanism.grid
        if reach > _MOST_UNITS:
            raise ArraysError(
                f"expected sums up to {_MOST_UNITS * self.mechanism.grid:.3g}, got one that may be larger"
            )
        added = {
            name: np.asarray(units + np.trunc(update[name].astype(np.float64) / self.mechanism.grid).astype(np.int64))
            for name, units in self.units.items()
        }
        return replace(self, units=added, reach=reach)


@dataclass(frozen=True)
class GaussianMechanism:
    """The Gaussian mechanism on a sum of vectors (Dwork and Roth 2014; for gradients, Abadi et al. 2016).

    Each update is clipped to L2 norm ``clipping_norm`` as one vector over all of its arrays; the sum gets independent
    Gaussian noise of standard deviation ``noise_multiplier * clipping_norm``, rounded to whole units of ``grid``. The
    sum is in whole units too, so what is released is the rounding of sum and noise together: post-processing of the
    mechanism in real numbers. Low bits, by which floating-point noise gives itself away (Mironov 2012), are not there.
    """

    clipping_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clipping_norm) and self.clipping_norm > 0):
            raise ValueError(f"clipping_norm must be finite and above 0, got {self.clipping_norm}")
        if not 0 <= self.noise_multiplier <= _MOST_NOISE:
            raise ValueError(f"noise_multiplier must be in [0, {_MOST_NOISE:g}], got {self.noise_multiplier}")

    @property
    def sensitivity(self) -> float:
        """The clipping norm: adding or removing one update moves the sum by no more."""
        return self.clipping_norm

    @property
    def grid(self) -> float:
        """The power of two that is 2**44 to 2**45 times in the clipping norm."""
        return math.ldexp(1.0, math.frexp(self.clipping_norm)[1] - 1 - _FRACTION_BITS)

    @property
    def noise_std(self) -> float:
        """Absolute standard deviation of the noise on the sum."""
        return self.noise_multiplier * self.clipping_norm

    @property
    def event(self) -> DpEvent:
        """A Gaussian event, or ``NonPrivateDpEvent`` without noise."""
        return dp.GaussianDpEvent(self.noise_multiplier) if self.noise_multiplier else dp.NonPrivateDpEvent()

    def clip(self, arrays: Arrays) -> tuple[dict[str, Array], float]:
        """Return the arrays scaled to norm ``clipping_norm`` if they are longer, and their norm before.

        Raises:
            ArraysError: for integers, NaN or infinity, by the array's name.
        """
        check_finite(arrays)
        unit, wide = _widen(arrays)
        length = l2_norm(wide)
        norm = unit * length
        if norm <= self.clipping_norm:
            return dict(arrays), norm
        # A hair too small, so that what float64 rounds up in products and in the sum of squares stays under the bound.
        factor = self.clipping_norm / length * (1 - 1e-12)
        return {name: _toward_zero(wide[name] * factor, array.dtype) for name, array in arrays.items()}, norm

    def noise(self, total: ClippedSum, rng: Randomness) -> PrivateUpdate:
        """Return the sum plus noise, in the dtypes of its updates, and this mechanism's event.

        Raises:
            ValueError: if the sum was clipped by another mechanism, whose bound would not fit this noise.
        """
        if total.mechanism != self:
            raise ValueError(f"expected a sum clipped by {self}, got one clipped by {total.mechanism}")
        noised = {}
        for name, units in total.units.items():
            noise = np.rint(rng.standard_normal(units.shape) * (self.noise_std / self.grid)).astype(np.int64)
            noised[name] = np.asarray((units + noise) * self.grid, total.like[name].dtype)
        return PrivateUpdate(noised, self.event)


def _widen(arrays: Arrays) -> tuple[float, dict[str, Array]]:
    """Return a unit and the arrays in float64 over that unit; it is not 1 only where squares would overflow."""
    largest = max((float(np.max(np.abs(array), initial=0)) for array in arrays.values()), default=0.0)
    unit = 1.0 if largest == 0 or 1e-100 < largest < 1e100 else largest
    return unit, {name: array.astype(np.float64) / unit for name, array in arrays.items()}


def _toward_zero(exact: Array, dtype: np.dtype[Any]) -> Array:
    """Round float64 values to ``dtype`` so that none grows: rounding to nearest can push a norm over its bound."""
    nearest = exact.astype(dtype)
    grown = np.abs(nearest.astype(np.float64)) > np.abs(exact)
    return np.where(grown, np.nextafter(nearest, dtype.type(0)), nearest)
