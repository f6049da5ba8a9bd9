"""Named arrays: a model state, or an *update* (the state after training minus the state before).

The algebra here never changes names, shapes or dtypes; a mismatch is refused by name. numpy alone, so that it runs on
a small board too.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import FedcompError

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class ArraysError(FedcompError, ValueError):
    """Two sets of named arrays do not fit, or one holds what a model state cannot hold."""


def check_alike(left: Arrays, right: Arrays) -> None:
    """Refuse two sets of arrays that differ in names, order, shapes or dtypes, naming the first difference.

    Raises:
        ArraysError: with the array's name, what was expected (``left``) and what came (``right``).
    """
    if list(left) != list(right):
        raise ArraysError(f"expected arrays named {list(left)}, got {list(right)}")
    for name, array in left.items():
        other = right[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            raise ArraysError(
                f"array {name!r}: expected {array.dtype}{list(array.shape)}, got {other.dtype}{list(other.shape)}"
            )


def check_finite(arrays: Arrays) -> None:
    """Refuse integer arrays, NaN and infinity: none of them can be averaged, and one of them poisons a mean.

    Raises:
        ArraysError: with the array's name and what is wrong with it.
    """
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise ArraysError(f"array {name!r}: expected floating point values, got {array.dtype}")
        if not np.isfinite(array).all():
            raise ArraysError(f"array {name!r}: expected finite values, got NaN or infinity")


def add(left: Arrays, right: Arrays) -> dict[str, Array]:
    """Return ``left + right``, array by array."""
    check_alike(left, right)
    return {name: np.asarray(array + right[name]) for name, array in left.items()}


def subtract(left: Arrays, right: Arrays) -> dict[str, Array]:
    """Return ``left - right``, array by array."""
    check_alike(left, right)
    return {name: np.asarray(array - right[name]) for name, array in left.items()}


def scale(arrays: Arrays, factor: float) -> dict[str, Array]:
    """Return the arrays times ``factor``; each keeps its dtype, so integers are refused: a factor of 0.5 would be 0."""
    for name, array in arrays.items():
        if not np.issubdtype(array.dtype, np.floating):
            raise ArraysError(f"array {name!r}: expected floating point values, got {array.dtype}")
    return {name: np.asarray(array * array.dtype.type(factor)) for name, array in arrays.items()}


def zeros_like(arrays: Arrays) -> dict[str, Array]:
    """Return arrays of zeros with the same names, shapes and dtypes."""
    return {name: np.zeros_like(array) for name, array in arrays.items()}


def l2_norm(arrays: Arrays) -> float:
    """Return the L2 norm of all values as one vector, summed in float64."""
    return float(np.sqrt(sum(float(np.sum(np.square(array, dtype=np.float64))) for array in arrays.values())))


def num_values(arrays: Arrays) -> int:
    """Return how many values the arrays hold together."""
    return sum(array.size for array in arrays.values())


def fp32_bytes(arrays: Arrays) -> int:
    """Return what the values alone cost as 32-bit floats, without names or headers: the yardstick of compression."""
    return 4 * num_values(arrays)


def digest(arrays: Arrays) -> str:
    """Return a SHA-256 over names, shapes, dtypes and values, as hex: equal exactly when the arrays are."""
    state = hashlib.sha256()
    for name, array in arrays.items():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        # JSON escapes what separates, so that no name can stand for two arrays
        state.update(json.dumps([name, array.dtype.name, array.shape]).encode() + b"\0")
        state.update(np.ascontiguousarray(little).tobytes())
    return state.hexdigest()
