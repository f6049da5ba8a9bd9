"""Thinning, for a dither: of blocks far below the step one value in 2**j is coded, and stands for all of them.

Subtractive dither costs a twelfth of a squared step for every value, however small. Where values are small against the
step it is better to draw one of every 2**j by a public seed and to code 2**j times that value: still unbiased (Horvitz
and Thompson 1952), at 2**-j of the bits.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.public import public_words
from fedcomp.codecs.rate.classes import LOWEST, PER_OCTAVE
from fedcomp.codecs.rate.layout import ClassOrder

MAX_THINNING, ZEROS_ONLY, SAME_TABLE = 16, 31, 32
"""The largest j; what stands for blocks whose values are all 0; what is added if a kind has the table of the last."""
_DOMAIN, _KINDS_APART = 6, 256
_BORDER = -2.6
"""Binary logarithm of the mean magnitude over the step from which on nothing is thinned. With one bit worth ln 2 / 6
squared steps, error and bits together are least at 2.4 octaves for Gaussian values and at 2.7 for Laplace or t3."""
THINNED_SCALE = int(np.floor(PER_OCTAVE * (_BORDER - 0.5))) - LOWEST + 1
"""The scale of all blocks that are thinned: what is coded of them is about as large in all."""


@dataclass(frozen=True)
class Kind:
    """Blocks that share a table and a thinning; ``ZEROS_ONLY`` says that nothing of them is sent."""

    table: int
    thinning: int


@dataclass(frozen=True, eq=False)
class Kinds:
    """``of_block`` is the kind of every block, as a place in ``kinds``."""

    of_block: NDArray[np.uint8]
    kinds: tuple[Kind, ...]

    @property
    def num_tables(self) -> int:
        """How many tables there are."""
        return 1 + max(kind.table for kind in self.kinds)


def thinnings_of(log_means: NDArray[np.float32], step: float) -> NDArray[np.uint8]:
    """Return j of every block, from the binary logarithm of its mean magnitude."""
    octaves = np.ceil(np.float32(_BORDER + np.log2(step)) - log_means)
    return np.where(np.isinf(log_means), ZEROS_ONLY, np.clip(octaves, 0, MAX_THINNING)).astype(np.uint8)


def plain_kinds(classes: NDArray[np.uint8], count: int) -> Kinds:
    """Return a kind a class, of ``count``, none thinned."""
    return Kinds(classes, tuple(Kind(index, 0) for index in range(count)))


def thinned_kinds(classes: NDArray[np.uint8], thinnings: NDArray[np.uint8]) -> Kinds:
    """Return a kind for every thinning and class that occur together, of small values first; zeros have table 0."""
    # Classes rise with the scale and thinnings fall, so that neighbouring blocks are mostly of neighbouring kinds.
    keys = np.where(thinnings == ZEROS_ONLY, 0, 1 + 32 * classes.astype(np.int64) + MAX_THINNING - thinnings)
    present = np.flatnonzero(np.bincount(keys))
    places = np.searchsorted(present, keys).astype(np.uint8)
    tables = np.unique((present[present > 0] - 1) // 32)
    kinds = [
        Kind(int(np.searchsorted(tables, (key - 1) // 32)), MAX_THINNING - (key - 1) % 32)
        if key
        else Kind(0, ZEROS_ONLY)
        for key in present.tolist()
    ]
    return Kinds(places, tuple(kinds))


def num_coded(length: int, thinning: int) -> int:
    """Return how many of ``length`` values are coded."""
    return 0 if thinning == ZEROS_ONLY else -(-length >> thinning)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Which values of a kind are coded: of every 2**j in the order of its blocks one, by the public seed. Normative."""

    order: ClassOrder
    index: int
    thinning: int
    offsets: NDArray[np.uint32]

    def places(self, span: slice) -> NDArray[np.intp]:
        """Return where in the whole the drawn values of a span are; a last one past the end is left out."""
        places = np.arange(span.start, span.stop, dtype=np.intp) << self.thinning
        places += self.offsets[span]
        if len(places) and places[-1] >= self.order.length(self.index):
            places = places[:-1]
        blocks, block = self.order.blocks(self.index), self.order.block
        return np.asarray(blocks[places // block] * block + places % block)


def draw(order: ClassOrder, index: int, thinning: int, seed: int) -> Drawn:
    """Return what is drawn of a kind that is thinned."""
    count = num_coded(order.length(index), thinning)
    words = public_words(seed, _DOMAIN + _KINDS_APART * index, count)
    return Drawn(order, index, thinning, words >> np.uint32(32 - thinning))
