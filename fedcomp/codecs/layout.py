"""Which arrays a payload holds, and how one of them lies in bytes. See docs/wire-format.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fedcomp.arrays import Array, Arrays, ArraysError
from fedcomp.codecs.base import MAX_VALUES, PayloadError

DTYPES: tuple[np.dtype[Any], ...] = (
    *(np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64")),
    *(np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")),
)
"""The only dtypes on the wire; a dtype's code is its place here, for ever."""

MAX_ARRAYS, MAX_NDIM, MAX_NAME_BYTES = 2**16 - 1, 32, 1024


@dataclass(frozen=True)
class ArraySpec:
    """Name, dtype and shape of one array."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)

    @property
    def floating(self) -> bool:
        """Whether the array is coded by the stages of a chain; others are carried as they are."""
        return self.dtype.kind == "f"


def layout_of(arrays: Arrays) -> tuple[ArraySpec, ...]:
    """Return the layout of arrays that are about to be encoded.

    Raises:
        ArraysError: if a name, dtype, shape or number is not allowed on the wire.
    """
    layout = tuple(ArraySpec(name, array.dtype, array.shape) for name, array in arrays.items())
    for spec in layout:
        if spec.dtype not in DTYPES or not spec.dtype.isnative:
            raise ArraysError(f"array {spec.name!r}: expected a native bool, int or float dtype, got {spec.dtype}")
    problem = layout_problem(layout, MAX_VALUES)
    if problem:
        raise ArraysError(problem)
    return layout


def layout_problem(layout: Sequence[ArraySpec], max_values: int) -> str | None:
    """Return what about a layout breaks the limits of the wire format, or None. Computes in integers without end."""
    if len(layout) > MAX_ARRAYS:
        return f"expected at most {MAX_ARRAYS} arrays, got {len(layout)}"
    if len({spec.name for spec in layout}) != len(layout):
        return "expected names that differ, got one twice"
    total = 0
    for spec in layout:
        if len(spec.shape) > MAX_NDIM:
            return f"array {spec.name!r}: expected at most {MAX_NDIM} dimensions, got {len(spec.shape)}"
        if len(spec.name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
            return f"array {spec.name[:40]!r}...: expected a name of at most {MAX_NAME_BYTES} bytes"
        # A zero among the dimensions must not hide an extent that numpy itself cannot hold.
        extent = prod(max(dimension, 1) for dimension in spec.shape)
        total += spec.size
        if extent > max_values or total > max_values:
            return f"array {spec.name!r}: expected at most {max_values} values in all, got shape {list(spec.shape)}"
    return None


def num_bytes(dtype: np.dtype[Any], length: int) -> int:
    """Return how many bytes a section of ``length`` values takes: a bit a bool, and the item size of others."""
    return -(-length // 8) if dtype.kind == "b" else length * dtype.itemsize


def dump_values(values: Array) -> bytes | memoryview:
    """Return a 1-D array as section bytes: little-endian, bools eight to a byte with the first in the lowest bit."""
    if values.dtype.kind == "b":
        return np.packbits(values, bitorder="little").tobytes()
    little = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return little.data.cast("B") if little.size else b""


def load_values(data: bytes | memoryview, dtype: np.dtype[Any], length: int) -> Array:
    """Return section bytes as a 1-D array of native byte order, without a copy where that is possible.

    Raises:
        PayloadError: if the number of bytes does not fit, or bits after the last bool are set.
    """
    if len(data) != num_bytes(dtype, length):
        raise PayloadError(f"expected {num_bytes(dtype, length)} bytes for {length} of {dtype}, got {len(data)}")
    if dtype.kind != "b":
        return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype, copy=False)
    bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    if bits[length:].any():
        raise PayloadError("expected zero bits after the last bool of a section")
    return bits[:length].view(np.bool_)
