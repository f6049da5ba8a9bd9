"""Reading IDX files: the big-endian array format in which MNIST and its successors are published."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError


def read_idx(path: Path, shape: tuple[int | None, ...]) -> NDArray[np.uint8]:
    """Return the bytes array in a gzip-compressed IDX file.

    ``shape`` is what the file must hold; its first entry may be None, for any number of rows up to a million. No more
    is ever unpacked than the header promises, and the header is checked first.

    Raises:
        DataError: for a file that is missing, damaged, truncated, too long, or of another shape: names the file, what
            was expected and what came.
    """
    try:
        with gzip.open(path, "rb") as file:
            found = _header(path, file.read(4 + 4 * len(shape)), shape)
            size = math.prod(found)
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a gzip-compressed IDX file, got: {error}") from error
    if len(content) != size:
        got = f"{len(content)}" if len(content) < size else "more"
        raise DataError(f"{path}: expected {size} bytes of values for {list(found)}, got {got}")
    return np.frombuffer(content, dtype=np.uint8).reshape(found)


def _header(path: Path, header: bytes, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    magic = bytes([0, 0, 8, len(shape)])  # two zeros, unsigned bytes, number of dimensions
    if len(header) != 4 + 4 * len(shape) or header[:4] != magic:
        raise DataError(
            f"{path}: expected an IDX header {magic.hex()} with {len(shape)} dimensions, got {header[:4].hex()}"
        )
    found: tuple[Any, ...] = tuple(int(size) for size in np.frombuffer(header, dtype=">u4", offset=4))
    fits = all(want in (None, have) for want, have in zip(shape, found, strict=True))
    if not fits or not 0 < found[0] <= 1_000_000:
        wanted = ["n" if size is None else size for size in shape]
        raise DataError(f"{path}: expected values of shape {wanted}, got {list(found)}")
    return found
