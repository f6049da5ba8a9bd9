"""Floating point arrays as one float32 vector, all other arrays as the bytes they are, and back."""

from collections.abc import Sequence

import numpy as np

from fedcomp.arrays import Array, Arrays, ArraysError
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.layout import ArraySpec

MAX_MAGNITUDE = 2.0**100
"""A lossy chain refuses larger values: no update is that large, and below it no scale and no sum overflows."""


def flatten(layout: Sequence[ArraySpec], arrays: Arrays) -> Array:
    """Return the floating point arrays as one float32 vector, all of it within ``MAX_MAGNITUDE``.

    Raises:
        ArraysError: for NaN, infinity and larger magnitudes, by the array's name.
    """
    names = [spec.name for spec in layout if spec.floating]
    with np.errstate(over="ignore"):
        parts = [arrays[name].reshape(-1).astype(np.float32, copy=False) for name in names]
    values = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype=np.float32), *parts])
    # NaN fails every comparison, so it is refused here too.
    if values.size and not (values.min() >= -MAX_MAGNITUDE and values.max() <= MAX_MAGNITUDE):
        for name, part in zip(names, parts, strict=True):
            if part.size and not (part.min() >= -MAX_MAGNITUDE and part.max() <= MAX_MAGNITUDE):
                raise ArraysError(f"array {name!r}: expected finite values of magnitude up to 2**100, got others")
    return values


def flatten_like(layout: Sequence[ArraySpec], arrays: Arrays, what: str) -> Array:
    """Return the arrays of the context as one vector; raises ``ArraysError`` if they are not those of ``layout``."""
    for spec in layout:
        if spec.floating and (spec.name not in arrays or arrays[spec.name].shape != spec.shape):
            raise ArraysError(
                f"{what}: expected an array {spec.name!r} of shape {list(spec.shape)}, got another or none"
            )
    return flatten(layout, arrays)


def split(coded: Sequence[ArraySpec], values: Array) -> dict[str, Array]:
    """Return the arrays that a float32 vector holds, each in its own dtype; float16 saturates."""
    arrays, at = {}, 0
    for spec in coded:
        part = values[at : at + spec.size].reshape(spec.shape)
        if spec.dtype == np.float16:
            part = np.asarray(np.clip(part, -65504.0, 65504.0))
        arrays[spec.name] = part.astype(spec.dtype, copy=len(coded) > 1)
        at += spec.size
    return arrays


def dump_verbatim(arrays: Sequence[Array]) -> Array:
    """Return the bytes of arrays one after the other, without a copy if there is one array alone."""
    parts = [
        np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8) for array in arrays
    ]
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype=np.uint8), *parts])


def load_verbatim(specs: Sequence[ArraySpec], section: Array) -> dict[str, Array]:
    """Return the arrays whose bytes a section holds; raises ``PayloadError`` if it cannot be them."""
    sizes = [spec.size * spec.dtype.itemsize for spec in specs]
    if section.dtype != np.uint8 or section.size != sum(sizes):
        raise PayloadError(f"section 0: expected {sum(sizes)} of uint8, got {section.size} of {section.dtype}")
    arrays, at = {}, 0
    for spec, size in zip(specs, sizes, strict=True):
        part = section[at : at + size]
        if spec.dtype == np.bool_ and part.max(initial=0) > 1:
            raise PayloadError(f"array {spec.name!r}: expected bools of 0 or 1, got {part.max()}")
        arrays[spec.name] = part.view(spec.dtype.newbyteorder("<")).reshape(spec.shape).astype(spec.dtype)
        at += size
    return arrays
