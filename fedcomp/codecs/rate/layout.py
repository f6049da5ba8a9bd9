"""Blocks of values, the class of each, and the order in which classes are coded: one class after the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CHUNK = 2**16
"""Values that are worked on at once, so that they stay in the cache."""


@dataclass(frozen=True, eq=False)
class ClassOrder:
    """Where the values of every class are: blocks by class, in their order within one.

    The last block may be short; it is the last of its class.
    """

    size: int
    block: int
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    @property
    def num_classes(self) -> int:
        """How many classes there may be."""
        return len(self.starts) - 1

    def blocks(self, index: int) -> NDArray[np.intp]:
        """Return the blocks of a class."""
        return self.order[self.starts[index] : self.starts[index + 1]]

    def length(self, index: int) -> int:
        """Return the number of values of a class."""
        blocks = self.blocks(index)
        missing = len(blocks) and blocks[-1] == len(self.order) - 1 and -self.size % self.block
        return len(blocks) * self.block - int(missing)

    def chunks(self, index: int, multiple: int = 1) -> Iterator[tuple[NDArray[np.intp], slice]]:
        """Return the blocks of a class piece by piece, and which of the class's values they are.

        All pieces but the last have a multiple of ``multiple`` values.
        """
        blocks, length = self.blocks(index), self.length(index)
        step = max(_CHUNK // (self.block * multiple), 1) * multiple
        for at in range(0, len(blocks), step):
            part = blocks[at : at + step]
            yield part, slice(at * self.block, min((at + len(part)) * self.block, length))


def class_order(classes: NDArray[Any], num_classes: int, size: int, block: int) -> ClassOrder:
    """Return the order of blocks from the class of each."""
    starts = np.zeros(num_classes + 1, dtype=np.intp)
    np.cumsum(np.bincount(classes, minlength=num_classes), out=starts[1:])
    return ClassOrder(size, block, np.argsort(classes.astype(np.uint8), kind="stable"), starts)


def num_blocks(size: int, block: int) -> int:
    """Return how many blocks there are, the short one included."""
    return -(-size // block)


def gather(values: NDArray[np.float32], blocks: NDArray[np.intp], block: int) -> NDArray[np.float32]:
    """Return the values of some blocks one after the other; only the last of them may be a short one."""
    whole = len(values) // block
    rows = values[: whole * block].reshape(whole, block)
    if len(blocks) and blocks[-1] == whole:
        return np.concatenate([rows.take(blocks[:-1], axis=0).reshape(-1), values[whole * block :]])
    return rows.take(blocks, axis=0, mode="clip").reshape(-1)


def scatter(found: NDArray[np.float32], values: NDArray[np.float32], blocks: NDArray[np.intp], block: int) -> None:
    """Put values back where ``gather`` took them from."""
    whole = len(values) // block
    rows = values[: whole * block].reshape(whole, block)
    if len(blocks) and blocks[-1] == whole:
        values[whole * block :] = found[(len(blocks) - 1) * block :]
        blocks, found = blocks[:-1], found[: (len(blocks) - 1) * block]
    rows[blocks] = found.reshape(-1, block)
