"""A public rotation: random signs and a Hadamard transform, twice, in blocks of 4,096.

One such pass is not enough: in a block that a few values dominate, it leaves a pattern of few magnitudes, and what a
quantizer makes of that has lost the small values for good. After two passes every coordinate is a sum of thousands of
random signs times values, whatever the block looked like.

A transform of 4,096 is two products with the 64 by 64 Hadamard matrix, whose entries are 1 and -1; nothing is
normalised, so whole numbers stay whole numbers. Magnitudes up to 63 in every place of a block never sum to 2**24 on the
way (each of the four products makes the length of a block 8 times larger, and no partial sum is longer than that), so
float32 holds every one of them exactly, in any order of summation, and the result is equal on every platform.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.public import public_words

BLOCK = 4096
"""Values that are rotated together; the last block is the smallest power of two, from 128 up, that holds the rest."""
LONGEST = 16 * BLOCK
"""Values of a segment at most."""
_SIDE, _SMALLEST = 64, 128


@dataclass(frozen=True)
class Segment:
    """Some equal blocks: ``count`` of ``size`` values, from value ``start`` on (padding counted)."""

    start: int
    count: int
    size: int

    @property
    def part(self) -> slice:
        """Where its values are."""
        return slice(self.start, self.start + self.count * self.size)

    @property
    def blocks(self) -> slice:
        """Where its blocks are among all blocks."""
        first = self.start // BLOCK
        return slice(first, first + self.count)


def segments(size: int) -> Iterator[Segment]:
    """Yield what ``size`` values are rotated in, few blocks at a time so that they stay in the cache."""
    full = size // BLOCK
    for first in range(0, full, LONGEST // BLOCK):
        yield Segment(first * BLOCK, min(LONGEST // BLOCK, full - first), BLOCK)
    if size % BLOCK:
        yield Segment(full * BLOCK, 1, _last(size % BLOCK))


def padded(size: int) -> int:
    """Return how many values the blocks of ``size`` values hold."""
    rest = size % BLOCK
    return size - rest + (_last(rest) if rest else 0)


class Rotation:
    """The rotation of ``size`` values that a seed gives, and its transpose. Not normalised: lengths grow by the size.

    Works in place on float32 blocks, one row each, and keeps what it needs between calls.
    """

    def __init__(self, seed: int, domain: int, size: int) -> None:
        words = padded(size) // 32
        self._signs = [
            np.asarray(part, dtype="<u4").view(np.uint8)
            for part in np.split(public_words(seed, domain, 2 * words), [words])
        ]
        longest = min(padded(size), LONGEST)
        self._scratch = np.empty(longest, dtype=np.float32)
        self._flips = np.empty((longest // 8, 8), dtype=np.uint32)

    def forward(self, blocks: NDArray[np.float32], segment: Segment) -> None:
        """Rotate the blocks of a segment."""
        for signs in self._signs:
            self._flip(blocks, signs, segment)
            self._transform(blocks)

    def transpose(self, blocks: NDArray[np.float32], segment: Segment) -> None:
        """Undo ``forward``, up to the square of the block's size as a factor."""
        for signs in reversed(self._signs):
            self._transform(blocks)
            self._flip(blocks, signs, segment)

    def _flip(self, blocks: NDArray[np.float32], signs: NDArray[np.uint8], segment: Segment) -> None:
        """Change the sign where a public bit is set, the lowest bit of a byte first."""
        start, count = segment.start // 8, blocks.size // 8
        flips = self._flips[:count]
        np.take(_FLIPS, signs[start : start + count], axis=0, out=flips, mode="clip")
        bits = blocks.reshape(-1).view(np.uint32)
        np.bitwise_xor(bits, flips.reshape(-1), out=bits)

    def _transform(self, blocks: NDArray[np.float32]) -> None:
        """Multiply every block with the Hadamard matrix of its size, as a tensor product of two."""
        count, size = blocks.shape
        rows = size // _SIDE
        scratch = self._scratch[: blocks.size].reshape(count * rows, _SIDE)
        np.matmul(blocks.reshape(count * rows, _SIDE), _HADAMARD, out=scratch)
        tall = scratch.reshape(count, rows, _SIDE)
        np.matmul(_HADAMARD[:rows, :rows], tall, out=blocks.reshape(count, rows, _SIDE))


def _last(rest: int) -> int:
    """Return the size of the last block. With fewer than 128 values sums of random signs would be far from Gaussian."""
    return max(1 << (rest - 1).bit_length(), _SMALLEST)


def _hadamard(size: int) -> NDArray[np.float32]:
    """Return Sylvester's Hadamard matrix: entry (i, j) is -1 to the number of ones that i and j share."""
    shared = np.bitwise_count(np.arange(size)[:, None] & np.arange(size))
    return np.where(shared % 2, -1, 1).astype(np.float32)


_HADAMARD = _hadamard(_SIDE)
_FLIPS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.uint32) << 31
"""Eight sign bits for every byte of public bits."""
