"""The encoder's search for the cheapest way through the trellis, over many paths at once.

Value j of a group is on path j mod ``paths``, as in the coded stream, and a path goes on from group to group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Bytes, Floats, Lookup, Reader
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.paths import Paths

Numbers = NDArray[np.uint16] | NDArray[np.uint32]
_CHUNK, _WIDTH = 2**16, 4096


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks that share a table, as indices into the values, and what their values cost and become."""

    blocks: NDArray[np.intp]
    lookup: Lookup

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.blocks) * BLOCK


class _Span(NamedTuple):
    """Values of a group: whole rows, one value a path, or one row that is not full."""

    group: int
    start: int
    rows: int
    width: int


def find_numbers(values: Floats, groups: Sequence[Group], scale: float, paths: int) -> list[Numbers]:
    """Return what the cheapest paths choose: twice the interleaved level plus the quantizer of every value, by group.

    Args:
        values: shape (blocks, 256).
        groups: in the order of the coded stream.
        scale: bins per unit of value.
        paths: how many.
    """
    spans = _spans(groups, paths)
    source = _Source(values, groups)
    reader = Reader(scale, max((span.rows * span.width for span in spans), default=0))
    decisions, final = _forward(source, groups, reader, spans, paths)
    numbers: list[Numbers] = [np.empty(group.size, dtype=np.uint16) for group in groups]
    state = _State(final)
    for span in reversed(spans):
        quantizer, parity = state.back(decisions.pop(), span.width)
        found = reader.number(source.take(span), quantizer, parity, groups[span.group].lookup)
        if numbers[span.group].dtype == np.uint16 and int(found.max()) >= 2**16:
            numbers[span.group] = numbers[span.group].astype(np.uint32)
        numbers[span.group][span.start : span.start + len(found)] = found
    return numbers


def _spans(groups: Sequence[Group], paths: int) -> list[_Span]:
    spans, height = [], max(_CHUNK // max(paths, 1), 1)
    for index, group in enumerate(groups):
        full, rest = divmod(group.size, paths)
        spans += [_Span(index, row * paths, min(height, full - row), paths) for row in range(0, full, height)]
        if rest:
            spans.append(_Span(index, full * paths, 1, rest))
    return spans


class _Source:
    """Values of blocks in the order of the groups."""

    def __init__(self, values: Floats, groups: Sequence[Group]) -> None:
        self._values, self._groups = values, groups

    def take(self, span: _Span) -> Floats:
        count, blocks = span.rows * span.width, self._groups[span.group].blocks
        first, last = span.start // BLOCK, -(-(span.start + count) // BLOCK)
        at = span.start - first * BLOCK
        taken: Floats = self._values.take(blocks[first:last], axis=0).reshape(-1)[at : at + count]
        return taken


def _forward(
    source: _Source, groups: Sequence[Group], reader: Reader, spans: Sequence[_Span], paths: int
) -> tuple[list[Bytes], Bytes]:
    """Return the decisions of every span, and the cheapest final state of every path."""
    width = -(-paths // max(1, round(paths / _WIDTH)))
    rows = max((span.rows for span in spans), default=0)
    columns = [Paths(at, min(at + width, paths), rows) for at in range(0, paths, width)]
    decisions = []
    for span in spans:
        bins = reader.read(source.take(span)).reshape(span.rows, span.width)
        decided = np.empty(bins.shape, dtype=np.uint8)
        for column in columns:
            if column.start < span.width:
                part = slice(column.start, min(column.stop, span.width))
                column.advance(bins[:, part], groups[span.group].lookup, decided[:, part])
        decisions.append(decided)
    return decisions, np.concatenate([column.best() for column in columns])


class _State:
    """The states of all paths on the way back, in three bits of their own."""

    def __init__(self, final: Bytes) -> None:
        # The quantizer is the oldest bit of a state as it is reached; differs: whether its two newest bits do.
        self._quantizer, self._before = final >> 2, final >> 1 & 1
        self._differs = (final & 1) ^ self._before

    def back(self, decided: Bytes, width: int) -> tuple[Bytes, Bytes]:
        """Return quantizer and parity of the values of a span, going back through all its rows."""
        quantizers, parities = np.empty((2, *decided.shape), dtype=np.uint8)
        q, b, w = self._quantizer[:width], self._before[:width], self._differs[:width]
        place = np.empty(width, dtype=np.uint8)
        for row in range(len(decided) - 1, -1, -1):
            quantizers[row] = q
            np.add(w, w, place)
            np.add(place, q, place)
            np.add(place, place, place)
            np.add(place, b, place)
            np.right_shift(decided[row], place, place)
            np.bitwise_and(place, 1, out=place)
            np.bitwise_xor(w, place, parities[row])
            np.bitwise_xor(b, q, w)
            b[:] = q
            q[:] = place
        return quantizers.reshape(-1), parities.reshape(-1)
