"""Any array of at most 32 bits a value as unsigned integers, small ones for what is frequent near zero, and back."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError

Words = NDArray[np.uint32]


def to_unsigned(values: Array) -> Words:
    """Return one unsigned integer a value.

    Signed integers are interleaved by sign (0, -1, 1, -2, ...); floats are their bit pattern; others are themselves.
    """
    if values.dtype.kind == "i":
        wide = values.astype(np.int32)
        return ((wide << np.int32(1)) ^ (wide >> np.int32(31))).view(np.uint32)
    if values.dtype.kind == "f":
        values = values.view(np.dtype(f"u{values.dtype.itemsize}"))
    return values.astype(np.uint32)


def from_unsigned(numbers: Words, dtype: np.dtype[Any]) -> Array:
    """Return the array that ``to_unsigned`` was given.

    Raises:
        PayloadError: if a number is out of the dtype's range.
    """
    bits = 1 if dtype.kind == "b" else 8 * dtype.itemsize
    if bits < 32 and numbers.max(initial=0) >> bits:
        raise PayloadError(f"expected numbers below 2**{bits} for {dtype}, got {numbers.max()}")
    if dtype.kind == "i":
        return ((numbers >> np.uint32(1)).view(np.int32) ^ -(numbers & np.uint32(1)).view(np.int32)).astype(dtype)
    if dtype.kind == "f":
        return numbers.astype(np.dtype(f"u{dtype.itemsize}")).view(dtype)
    return numbers.astype(dtype)
