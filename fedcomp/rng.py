"""Random streams: reproducible ones from one seed, and secret ones from the operating system.

Everything that may be repeated (partitions, initial weights, batches without privacy, public dither) draws from
``stream``. Everything that privacy hangs on (noise, Poisson batches, nonces, keys) draws from ``secret_stream`` or
``os.urandom`` and takes no seed.
"""

import hashlib
import json
import os

import numpy as np


def stream(seed: int, *path: str | int) -> np.random.Generator:
    """Return the generator that belongs to ``path`` under ``seed``.

    Philox is counter-based: equal seed and path give equal draws on every platform, and two paths give streams that
    do not overlap, so the result never depends on which client happened to train first.
    """
    key = hashlib.sha256(json.dumps([seed, *path]).encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def derived_seed(seed: int, *path: str | int) -> int:
    """Return 63 bits derived from ``seed`` and ``path``, for libraries that take an integer seed."""
    return int(stream(seed, *path).integers(2**63))


def secret_stream() -> np.random.Generator:
    """Return a generator keyed with 128 bits of operating system entropy; nobody can ask for the same one again."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(os.urandom(16), "little")))
