"""The part of a model that a narrower one has: some places along each axis of each array."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array, Arrays, ArraysError

Places = tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, eq=False)
class Slices:
    """For each array of a model, by name, the places along each of its axes that the narrower model has, ascending.

    Most are the first ones. The inputs of a layer behind a flattened image are those of the channels that are kept,
    wherever flattening has put them.
    """

    places: Mapping[str, Places]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the narrower array."""
        return tuple(len(axis) for axis in self.places[name])

    def take(self, arrays: Arrays) -> dict[str, Array]:
        """Return the narrower model's arrays, copied, in the order of ``arrays``.

        Raises:
            ArraysError: for an array that these slices do not know, or that they do not fit.
        """
        return {name: np.array(array[self.index(name, array)]) for name, array in arrays.items()}

    def index(self, name: str, array: Array) -> tuple[NDArray[np.int64], ...]:
        """Return what ``array``, the wide one, is indexed with to read or change the narrower one's values."""
        if name not in self.places:
            raise ArraysError(f"expected arrays named {list(self.places)}, got {name!r}")
        axes = self.places[name]
        if len(axes) != array.ndim or any(len(a) and a[-1] >= size for a, size in zip(axes, array.shape, strict=True)):
            least = [int(axis[-1]) + 1 if len(axis) else 0 for axis in axes]
            raise ArraysError(f"array {name!r}: expected a shape of at least {least}, got {list(array.shape)}")
        return np.ix_(*axes)
