"""Interleaved range coding (rANS: Duda 2013; Giesen 2014) along the trellis: two tables a batch, chosen by the state.

As in ``entropy.lanes``, every lane has a 32-bit state, all write 16-bit words to one stream, and a step codes one value
a lane. Value j of a batch belongs to lane j mod ``lanes`` and to path j mod ``paths`` of the trellis; ``paths`` is a
multiple of ``lanes``, so that a path is always in the same lane and a step knows the trellis state of all its values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.entropy.tables import SYMBOL_BITS, Ints

Words = NDArray[np.uint32]
Symbols = NDArray[np.uint16]
LOWEST_STATE = 2**16
SLOTS = 2**SYMBOL_BITS
_WORD_BITS = 16
_CHUNK = 2**16


@dataclass(frozen=True, eq=False)
class Batch:
    """Values as twice their symbol plus their quantizer; frequencies (2, alphabet), each row of sum ``SLOTS``."""

    indices: Symbols
    frequencies: Ints


def encode_lanes(batches: Sequence[Batch], lanes: int) -> tuple[Words, NDArray[np.uint16]]:
    """Return the states of the lanes and the words in the order in which a decoder reads them."""
    states = np.full(lanes, LOWEST_STATE, dtype=np.uint32)
    words: list[NDArray[np.uint16]] = []
    for batch in reversed(batches):
        frequencies = batch.frequencies.astype(np.uint32)
        starts = np.cumsum(frequencies, axis=1, dtype=np.uint32) - frequencies
        limits = (frequencies << np.uint32(32 - SYMBOL_BITS)) - np.uint32(1)
        tables = tuple(t.reshape(-1) for t in (limits.T, frequencies.T, SLOTS - frequencies.T, starts.T))
        height = max(_CHUNK // lanes, 1) * lanes
        starts_of_chunks = range((len(batch.indices) - 1) // height * height, -1, -height)
        words += [_encode_chunk(states, batch.indices[at : at + height], tables) for at in starts_of_chunks]
    return states, np.concatenate([np.empty(0, dtype=np.uint16), *reversed(words)])


def _encode_chunk(states: Words, indices: Symbols, tables: tuple[Words, ...]) -> NDArray[np.uint16]:
    """Code whole rows, the last of which may be short, into ``states``, in place, and return their words."""
    lanes = len(states)
    rows, rest = -(-len(indices) // lanes), len(indices) % lanes
    places = indices.astype(np.intp)
    looked_up = np.empty((4, rows * lanes), dtype=np.uint32)
    for out, table, neutral in zip(looked_up, tables, (2**32 - 1, SLOTS, 0, 0), strict=True):
        table.take(places, out=out[: len(places)], mode="clip")
        # Frequency SLOTS and start 0 leave a state as it is: what is missing in the last row is filled with them.
        out[len(places) :] = neutral
    by_row = looked_up.reshape(4, rows, lanes).transpose(1, 0, 2)[::-1]
    # Row r + 1 of ``history`` is the states before row r was coded; the first is what remains.
    history = np.empty((rows + 1, lanes), dtype=np.uint32)
    history[-1] = states
    full_rows, width = np.empty((rows, lanes), dtype=np.bool_), np.full(lanes, _WORD_BITS, dtype=np.uint32)
    scratch, kept = np.empty_like(states), np.empty_like(states)
    # Positional outputs: a keyword costs as much as the arithmetic on a few dozen lanes.
    for looked, full, old, new in zip(by_row, full_rows[::-1], history[:0:-1], history[-2::-1], strict=True):
        limit, frequency, complement, start = looked
        np.greater(old, limit, full)
        np.multiply(full, width, scratch)
        np.right_shift(old, scratch, kept)
        # state // f * SLOTS + state % f + start, with one multiplication
        np.floor_divide(kept, frequency, scratch)
        np.multiply(scratch, complement, scratch)
        np.add(kept, scratch, kept)
        np.add(kept, start, new)
    states[:] = history[0]
    low = history[1:]
    if rest:
        full_rows[-1, rest:] = False
    return low[full_rows].astype(np.uint16)


class LaneDecoder:
    """Reads batches, one after the other, while every path walks through the trellis."""

    def __init__(self, states: Words, words: NDArray[np.uint16], paths: int) -> None:
        """Take states, words, and the number of paths; raises ``PayloadError`` if a state is one no encoder leaves."""
        if states.min(initial=LOWEST_STATE) < LOWEST_STATE:
            raise PayloadError(f"expected lane states of at least {LOWEST_STATE}, got {states.min()}")
        # 64 bits: numpy gathers by int64 without a conversion.
        self._states, self._words = states.astype(np.int64), words.astype(np.int64)
        self._at = 0
        # The bits b1, b2, b3 of every path, in place SYMBOL_BITS: b2 is added to a slot to choose the table.
        self._register = [np.zeros(paths, dtype=np.int64) for _ in range(3)]

    def read(self, frequencies: Ints, odd: Ints, count: int, parities: NDArray[np.uint8] | None = None) -> Symbols:
        """Return quantizer times ``SLOTS`` plus slot of the ``count`` values of the next batch.

        Args:
            frequencies: shape (2, alphabet), each row of sum ``SLOTS``.
            odd: parity of the level of each symbol, if symbols alone determine it.
            count: number of values.
            parities: else the parity of every value.

        Raises:
            PayloadError: if the words end early.
        """
        tables = np.empty((3, 2, SLOTS), dtype=np.int64)
        for q in (0, 1):
            times = frequencies[q].astype(np.intp)
            tables[0, q] = np.repeat(frequencies[q], times)
            tables[1, q] = np.arange(SLOTS) - np.repeat(np.cumsum(frequencies[q]) - frequencies[q], times)
            tables[2, q] = np.repeat(odd << SYMBOL_BITS, times)
        by_slot = tables.reshape(3, 2 * SLOTS)
        found = np.empty(count, dtype=np.uint16)
        paths, lanes = len(self._register[0]), len(self._states)
        for start in range(0, count, paths):
            width = min(paths, count - start)
            whole = width // lanes * lanes
            for at, stop in ((0, whole), (whole, width)):
                if at < stop:
                    here = slice(start + at, start + stop)
                    self._walk(by_slot, slice(at, stop), found[here], None if parities is None else parities[here])
            self._turn(width)
        return found

    def finish(self) -> None:
        """Refuse words that were not read, and lanes that do not end where an encoder starts."""
        if self._at != len(self._words) or (self._states != LOWEST_STATE).any():
            raise PayloadError("the lanes of a coded stream do not end where an encoder starts")

    def _walk(self, by_slot: Ints, part: slice, found: Symbols, parities: NDArray[np.uint8] | None) -> None:
        """Decode one value of each of some paths: whole steps of all lanes, or one step of the first lanes."""
        width = min(part.stop - part.start, len(self._states))
        states, words, at = self._states[:width], self._words, self._at
        frequencies, offsets, bits = by_slot
        b1, b2, b3 = (register[part].reshape(-1, width) for register in self._register)
        forced = None if parities is None else (parities.astype(np.int64) << SYMBOL_BITS).reshape(-1, width)
        last, slot_bits, lowest = np.full((3, width), [[SLOTS - 1], [SYMBOL_BITS], [LOWEST_STATE]], dtype=np.int64)
        place, scratch = np.empty((2, width), dtype=np.int64)
        steps = zip(b1, b2, b3, found.reshape(-1, width), strict=True)
        for index, (newest, quantizer, oldest, row) in enumerate(steps):
            # Positional outputs: a keyword costs as much as the arithmetic on a few dozen lanes.
            np.bitwise_and(states, last, place)
            np.bitwise_or(place, quantizer, place)
            row[:] = place
            np.right_shift(states, slot_bits, states)
            frequencies.take(place, None, scratch, "clip")
            np.multiply(states, scratch, states)
            offsets.take(place, None, scratch, "clip")
            np.add(states, scratch, states)
            # The new bit goes where the oldest was.
            np.bitwise_xor(oldest, newest, oldest)
            parity = bits.take(place, None, scratch, "clip") if forced is None else forced[index]
            np.bitwise_xor(oldest, parity, oldest)
            under = np.less(states, lowest).nonzero()[0]
            if len(under):
                end = at + len(under)
                if end > len(words):
                    raise PayloadError("a coded stream ends early")
                states[under] = (states[under] << _WORD_BITS) | words[at:end]
                at = end
        self._at = at

    def _turn(self, width: int) -> None:
        """Rename the bits after a step of the first ``width`` paths; the others keep theirs."""
        b1, b2, b3 = self._register
        if width < len(b1):
            b3[width:], b1[width:], b2[width:] = b1[width:].copy(), b2[width:].copy(), b3[width:].copy()
        self._register = [b3, b1, b2]
