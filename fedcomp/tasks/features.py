"""Features of a data set, computed once a machine and memory-mapped from then on."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import cache_directory

_FORMAT = 1


def cached_features(
    name: str,
    rows: NDArray[Any],
    transform: Callable[[NDArray[Any]], NDArray[np.float16]],
    width: int,
) -> NDArray[np.float16]:
    """Return ``transform(rows)``, float16 ``[n, width]``, as a read-only memory map from the user's cache.

    The key is ``name`` (which must change when the transform does) and a digest of ``rows``. Two processes that ask at
    once compute once: the second waits. A file that was cut short is computed again.

    Raises:
        DataError: if the cache cannot be written, with the directory and the variable that moves it.
    """
    rows = np.ascontiguousarray(rows)
    identity = hashlib.sha256(f"{name}|{_FORMAT}|{rows.dtype.str}|{rows.shape}".encode())
    identity.update(rows.data)
    path = cache_directory() / "features" / f"{name}-{identity.hexdigest()[:32]}.npy"
    shape = (len(rows), width)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            cached = _open(path, shape)
            if cached is None:
                _write(path, transform(rows))
                cached = _open(path, shape)
    except OSError as error:
        raise DataError(
            f"cannot keep features in {path.parent}: {error}; set XDG_CACHE_HOME to a directory with "
            f"{2 * len(rows) * width / 1e6:.0f} MB of room"
        ) from error
    if cached is None:
        raise DataError(f"{path}: expected float16{list(shape)} after writing it, got another file")
    return cached


def _open(path: Path, shape: tuple[int, int]) -> NDArray[np.float16] | None:
    try:
        cached = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return cached if cached.dtype == np.float16 and cached.shape == shape else None


def _write(path: Path, features: NDArray[np.float16]) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, features, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
