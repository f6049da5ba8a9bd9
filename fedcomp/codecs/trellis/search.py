"""The encoder's search for the cheapest way through the trellis, over many paths at once.

Value j of a group is on path j mod ``paths``, as in the coded stream, and a path goes on from group to group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import TABLE_BINS, Bytes, Floats, Lookup, Reader
from fedcomp.codecs.trellis.blocks import Blocks, Indices
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.paths import ROWS, Paths

Numbers = NDArray[np.uint16] | NDArray[np.uint32]
MOST_PATHS = 2**13
_CHUNK, _LEAST_CHUNK = 2**16, 2**14
"""Values at a time: what is made of them stays in the cache; and of few values not so many that memory counts."""


@dataclass(frozen=True, eq=False)
class Group:
    """Blocks that share a table, as rising indices into the values, and what their values cost and become."""

    blocks: Indices
    lookup: Lookup

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.blocks) * BLOCK


class _Span(NamedTuple):
    """Values of a group: whole rows, one value a path, or one row that is not full."""

    group: int
    start: int
    stop: int
    width: int


def find_numbers(blocks: Blocks, groups: Sequence[Group], scale: float, paths: int) -> list[Numbers]:
    """Return what the cheapest paths choose: twice the interleaved level plus the quantizer of every value, by group.

    Args:
        blocks: where the values are.
        groups: in the order of the coded stream.
        scale: bins per unit of value.
        paths: how many.
    """
    spans = _spans(groups, paths)
    reader = Reader(scale, max((span.stop - span.start for span in spans), default=0))
    numbers: list[Any] = [np.empty(group.size, dtype=np.uint16) for group in groups]
    rows = max(((span.stop - span.start) // span.width for span in spans), default=0)
    walk, histories, near = Paths(paths, rows), [], []
    for span in spans:
        # Until the way back the place of a number holds the bin of its value.
        codes: NDArray[np.uint16] = numbers[span.group][span.start : span.stop]
        places, all_near = reader.read(_take(blocks, groups, span), codes)
        histories.append(walk.advance(places, span.width, groups[span.group].lookup))
        near.append(all_near)
    states = walk.best()
    for span in reversed(spans):
        subsets = _subsets(states, histories.pop(), (span.stop - span.start) // span.width)
        place = numbers[span.group][span.start : span.stop]
        place[:] = reader.number(place.astype(np.uint16, copy=False), subsets, groups[span.group].lookup)
        if not near.pop():
            more = reader.beyond(_take(blocks, groups, span))
            numbers[span.group] = _added(numbers[span.group], span, more)
    return numbers


def find_apart(values: Floats, lookups: Sequence[Lookup], scale: float, rows: int) -> NDArray[np.uint32]:
    """Return numbers as ``find_numbers`` does, of groups that have paths of their own, which may start in any state.

    For samples: short paths that stand for longer ones, and many small groups in the time of one.

    Args:
        values: of every group as many, shape (groups, size).
        lookups: one a group.
        scale: bins per unit of value.
        rows: how many there are on each path, a divisor of the size.
    """
    groups, size = values.shape
    # By row, group and path.
    arranged = np.ascontiguousarray(values.reshape(groups, rows, -1).transpose(1, 0, 2))
    paths, number = arranged[0].size, np.arange(groups, dtype=np.intp)[:, None]
    height = min(max(_LEAST_CHUNK // paths // ROWS, 1) * ROWS, rows)
    reader, joined = Reader(scale, height * paths), Lookup.joined(lookups)
    walk, codes = Paths(paths, height, anywhere=True), np.empty(arranged.shape, dtype=np.uint16)
    histories, chunks = [], [slice(at, min(at + height, rows)) for at in range(0, rows, height)]
    for chunk in chunks:
        places, _ = reader.read(arranged[chunk].reshape(-1), codes[chunk].reshape(-1))
        places.reshape(-1, groups, paths // groups)[:] += number * TABLE_BINS
        histories.append(walk.advance(places, paths, joined))
    found, states = np.empty(arranged.shape, dtype=np.uint32), walk.best()
    for chunk in reversed(chunks):
        subsets = _subsets(states, histories.pop(), chunk.stop - chunk.start).reshape(codes[chunk].shape)
        wanted = (codes[chunk].astype(np.intp) << 2 | subsets) + number * (8 * TABLE_BINS)
        found[chunk] = joined.numbers.take(wanted)
        found[chunk] += reader.beyond(arranged[chunk].reshape(-1)).astype(np.uint32).reshape(wanted.shape)
    return found.transpose(1, 0, 2).reshape(groups, size)


def _added(numbers: Numbers, span: _Span, more: NDArray[np.int32]) -> Numbers:
    """Return numbers with something more in a span, wider where that does not fit."""
    part = numbers[span.start : span.stop]
    if numbers.dtype == np.uint16 and int(part.max()) + int(more.max()) >= 2**16:
        numbers = numbers.astype(np.uint32)
        part = numbers[span.start : span.stop]
    np.add(part, more, part, casting="unsafe")
    return numbers


def _spans(groups: Sequence[Group], paths: int) -> list[_Span]:
    most = min(_CHUNK, max(sum(group.size for group in groups) // 8, _LEAST_CHUNK))
    spans, height = [], max(most // max(paths, 1) // ROWS, 1) * ROWS * paths
    for index, group in enumerate(groups):
        whole = group.size // paths * paths
        spans += [_Span(index, at, min(at + height, whole), paths) for at in range(0, whole, height)]
        if whole < group.size:
            spans.append(_Span(index, whole, group.size, group.size - whole))
    return spans


def _take(blocks: Blocks, groups: Sequence[Group], span: _Span) -> Floats:
    """Return the values of a span."""
    first, last = span.start // BLOCK, -(-span.stop // BLOCK)
    return blocks.take(groups[span.group].blocks[first:last])[span.start - first * BLOCK : span.stop - first * BLOCK]


def _subsets(states: Bytes, history: Bytes, rows: int) -> Bytes:
    """Return the subset, 2 quantizer + parity, of the values of a span, going back through all its rows.

    ``states`` are those of all paths after it, and in the end before it.
    """
    width, count = history.shape[2], len(history)
    states = states[:width]
    found = np.empty((count + 1, width), dtype=np.uint8)
    places, within = np.empty(width, dtype=np.intp), np.arange(width, dtype=np.intp)
    found[count] = states
    # The last part may be of fewer rows than three: then some of the bits before it are still in the state.
    fewer = ROWS * count - rows
    for index in range(count - 1, -1, -1):
        places[:] = found[index + 1]
        np.multiply(places, width, places)
        np.add(places, within, places)
        history[index].reshape(-1).take(places, out=found[index], mode="clip")
        np.bitwise_and(found[index], np.uint8(7), found[index])
        if fewer:
            found[index] |= found[index + 1] >> (ROWS - fewer)
            fewer = 0
    states[:] = found[0]
    return _from_bits(found, rows)


def _from_bits(states: Bytes, rows: int) -> Bytes:
    """Return the subsets of ``rows`` values of each path from its states before each three of them, and at the end."""
    bits = np.empty((rows + ROWS, states.shape[1]), dtype=np.uint8)
    for place in range(ROWS):
        # The state after three values is their bits, the first one on top.
        found = states[: len(bits[place::ROWS])]
        np.right_shift(found, np.uint8(ROWS - 1 - place), bits[place::ROWS])
    if rows % ROWS:
        # The last state has older bits than those of its own part on top.
        for place in range(1, ROWS):
            np.right_shift(states[-1], np.uint8(place - 1), bits[-place])
    np.bitwise_and(bits, np.uint8(1), bits)
    # b1 is the bit of the value before, b2 (the quantizer) that of the one before it, b3 one more.
    subsets = bits[ROWS:] ^ bits[ROWS - 1 : -1]
    subsets ^= bits[:-ROWS]
    subsets |= bits[1 : 1 - ROWS] << np.uint8(1)
    return subsets.reshape(-1)
