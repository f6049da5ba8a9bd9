"""Secret randomness: what privacy noise and secret samples are drawn from.

A stream is the key stream of ChaCha20 (RFC 8439; Bernstein 2008) under a key of 256 bits from the operating system:
whoever sees any part of it, and has less than the key, cannot tell the rest from random. Statistical generators
(Philox, Mersenne twister, torch's) promise nothing of the kind, and torch's keeps 32 bits of any seed.

The mapping to numbers is fixed: words of 64 bits, little-endian, in order. A uniform number is the upper 53 bits of a
word, over 2**53. Normal numbers come in pairs from two words u and v (Box and Muller 1958): with r = sqrt(-2 ln((u + 1)
/ 2**64)) and the angle a = 2 pi v / 2**64 they are r cos a and r sin a; all cosines of a call come before its sines.
"""

import math
import os
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

Size = int | tuple[int, ...] | None
_CHUNK = 2**15
"""Pairs that are worked on at once, so that they stay in the cache."""
_MAX_BYTES = 2**37
"""RFC 8439 counts 2**32 blocks of 64 bytes; after half of them a stream refuses rather than repeat itself."""


class SecretStream:
    """Numbers that nobody else can foretell. Two streams share nothing; none can be asked for again.

    A stream belongs to the process that made it: after a fork both halves would draw the same, so it refuses then.

    Raises:
        OSError: if the operating system has no entropy to give.
    """

    def __init__(self, *, test_key: bytes | None = None) -> None:
        """Take a key from the operating system; ``test_key``, 32 bytes, is for test vectors alone."""
        key = os.urandom(32) if test_key is None else test_key
        self._cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._process, self._drawn = os.getpid(), 0

    def words(self, count: int) -> NDArray[np.uint64]:
        """Return the next ``count`` words of 64 bits.

        Raises:
            RuntimeError: in a process that was forked after the stream was made, or once 128 GiB are drawn.
        """
        if os.getpid() != self._process:
            raise RuntimeError("a secret stream cannot be used after a fork: both processes would draw the same")
        self._drawn += 8 * count
        if self._drawn > _MAX_BYTES:
            raise RuntimeError(f"a secret stream gives {_MAX_BYTES:,} bytes; expected a new one by now")
        return np.frombuffer(self._cipher.update(bytes(8 * count)), dtype="<u8").astype(np.uint64, copy=False)

    def random(self, size: Size = None) -> Any:
        """Return numbers uniform in [0, 1), multiples of 2**-53, as an array of float64 or, without a size, a float."""
        uniform = (self.words(_count(size)) >> np.uint64(11)) * 2.0**-53
        return float(uniform[0]) if size is None else uniform.reshape(size)

    def standard_normal(self, size: Size = None, dtype: Any = np.float64) -> Any:
        """Return normal numbers of mean 0 and deviation 1, at most 9.42 in magnitude, drawn in float64.

        What is cut off beyond that has a probability of 4e-21.
        """
        count = _count(size)
        found = np.empty(2 * -(-count // 2), dtype=dtype)
        half = len(found) // 2
        for at in range(0, half, _CHUNK):
            pairs = min(_CHUNK, half - at)
            first, second = self.words(2 * pairs).reshape(2, pairs)
            radius = np.sqrt(-2.0 * np.log((first + 1.0) * 2.0**-64))
            angle = second * (2.0 * math.pi * 2.0**-64)
            found[at : at + pairs] = radius * np.cos(angle)
            found[half + at : half + at + pairs] = radius * np.sin(angle)
        return float(found[0]) if size is None else found[:count].reshape(size)


def _count(size: Size) -> int:
    return 1 if size is None else int(np.prod(size, dtype=np.int64))
