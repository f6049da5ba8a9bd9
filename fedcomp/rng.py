"""Random streams: reproducible ones from one seed, and what both kinds have in common.

Everything that may be repeated (partitions, initial weights, batches without privacy, public dither) draws from
``stream``. Everything that privacy hangs on (noise, Poisson batches, nonces, keys) draws from
``fedcomp.crypto.SecretStream`` or ``os.urandom`` and takes no seed.
"""

import hashlib
import json
from typing import Any, Protocol

import numpy as np


class Randomness(Protocol):
    """What samplers and mechanisms draw from: a secret stream where privacy is claimed, a generator in tests."""

    def random(self, size: Any = None) -> Any:
        """Return numbers uniform in [0, 1)."""
        ...

    def standard_normal(self, size: Any = None, dtype: Any = ...) -> Any:
        """Return numbers of the normal distribution of mean 0 and deviation 1."""
        ...


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
