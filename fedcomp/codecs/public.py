"""Public randomness: bits that encoder and decoder both derive from a 64-bit seed in the payload.

Philox4x64-10 (Salmon et al. 2011) is counter-based and made of integer arithmetic alone, so the words are equal on
every platform; only the raw words are used, which numpy promises never to change. The seed is public: this hides
nothing from whoever holds the payload, and no privacy noise may ever come from here.
"""

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array


def public_seed(rng: np.random.Generator) -> int:
    """Return a 64-bit seed drawn from ``rng``."""
    return int(rng.integers(2**64, dtype=np.uint64))


def read_seed(stream: Array) -> int:
    """Return the seed that a stream of one uint64 holds."""
    return int(stream[0])


def public_words(seed: int, domain: int, count: int) -> NDArray[np.uint32]:
    """Return ``count`` words of 32 bits that follow from ``seed`` and ``domain``.

    The key of Philox is ``seed + domain * 2**64``: two stages with one seed still draw different words. Each 64-bit
    output gives two words, the low half first.
    """
    generator = np.random.Philox(key=seed + (domain << 64))
    raw = np.asarray(generator.random_raw(-(-count // 2)), dtype="<u8")
    return raw.view("<u4")[:count].astype(np.uint32, copy=False)
