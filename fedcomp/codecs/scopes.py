"""Values that share a scale: groups of neighbours, and their scales as bfloat16."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.bfloat import from_bfloat16, to_bfloat16
from fedcomp.codecs.stage import Shape, Spec

SCALE_ROUNDING = 2.0**-7
"""How much larger, relatively, a scale may be than what it was rounded from."""


@dataclass(frozen=True)
class Scope:
    """Which values share a scale.

    ``kind`` is ``tensor``, ``channel`` (an index of the first dimension, in tensors of two or more) or ``block``:
    ``block_size`` values in a row, whatever tensors they are of; the last block may be smaller.
    """

    kind: str
    block_size: int

    def scales(self, shapes: Sequence[Shape]) -> Spec:
        """Return what the scales look like as a stream. Allocates nothing, whatever the shapes claim."""
        if self.kind == "block":
            return Spec(np.dtype(np.uint16), -(-sum(map(prod, shapes)) // self.block_size))
        return Spec(np.dtype(np.uint16), sum(self._channels(shape) for shape in shapes))

    def sizes(self, shapes: Sequence[Shape]) -> NDArray[np.int64]:
        """Return the sizes of the groups, one after the other, each at least 1."""
        if self.kind != "block":
            parts = [np.full(count, prod(s) // count) for s in shapes if (count := self._channels(s))]
            return np.concatenate([np.empty(0, dtype=np.int64), *parts])
        full, rest = divmod(sum(map(prod, shapes)), self.block_size)
        sizes = np.full(full + bool(rest), self.block_size)
        sizes[full:] = rest
        return sizes

    def _channels(self, shape: Shape) -> int:
        if prod(shape) == 0:
            return 0
        return shape[0] if self.kind == "channel" and len(shape) > 1 else 1


def reduce_groups(operation: np.ufunc, values: Array, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return one float64 a group: its values reduced by ``np.maximum`` or ``np.add``, say."""
    if not sizes.size:
        return np.empty(0, dtype=np.float64)
    return np.asarray(operation.reduceat(values, np.cumsum(sizes) - sizes, dtype=np.float64))


def write_scales(scales: Array, *, up: bool = False) -> NDArray[np.uint16]:
    """Return scales that are finite and not negative as a stream: the nearest bfloat16, or the next one up.

    What is no normal float32 becomes 0.
    """
    normal = np.where(scales < np.finfo(np.float32).tiny, 0, scales).astype(np.float32)
    return to_bfloat16(normal, up=up)


def read_scales(stream: Array) -> NDArray[np.float32]:
    """Return the scales that a stream holds.

    Raises:
        PayloadError: if one is negative, infinite or not a number.
    """
    if stream.max(initial=0) >= 0x7F80:
        raise PayloadError("expected scales that are finite and not negative, got another one")
    return from_bfloat16(stream)
