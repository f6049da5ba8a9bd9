"""Interleaved range coding (rANS: Duda 2013; Giesen 2014) along the trellis: two tables a batch, chosen by the state.

As in ``entropy.lanes``, every lane has a 32-bit state, all write 16-bit words to one stream, and a step codes one value
a lane. Value j of a batch belongs to lane j mod ``lanes`` and to path j mod ``paths`` of the trellis; ``paths`` is a
multiple of ``lanes``, so that a path is always in the same lane and a step knows the trellis state of all its values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.entropy.tables import SYMBOL_BITS, Ints

Words = NDArray[np.uint32]
Symbols = NDArray[np.uint16]
LOWEST_STATE = 2**16
SLOTS = 2**SYMBOL_BITS
_WORD_BITS = 16
_CHUNK = 2**15


@dataclass(frozen=True, eq=False)
class Batch:
    """Values as twice their symbol plus their quantizer; frequencies (2, alphabet), each row of sum ``SLOTS``."""

    indices: Symbols
    frequencies: Ints


def encode_lanes(batches: Sequence[Batch], lanes: int) -> tuple[Words, NDArray[np.uint16]]:
    """Return the states of the lanes and the words in the order in which a decoder reads them."""
    rows = max((-(-len(batch.indices) // lanes) for batch in batches if lanes), default=0)
    encoder = _Encoder(lanes, min(rows, max(_CHUNK // max(lanes, 1), 1)))
    words: list[NDArray[np.uint16]] = []
    for batch in reversed(batches):
        frequencies = batch.frequencies.astype(np.uint32)
        starts = np.cumsum(frequencies, axis=1, dtype=np.uint32) - frequencies
        packed = (frequencies << np.uint32(16) | starts).T.reshape(-1)
        height = encoder.rows * lanes
        starts_of_chunks = range((len(batch.indices) - 1) // height * height, -1, -height)
        words += [encoder.encode(batch.indices[at : at + height], packed) for at in starts_of_chunks]
    return encoder.states, np.concatenate([np.empty(0, dtype=np.uint16), *reversed(words)])


class _Encoder:
    """Codes rows of values, the last ones first. All memory, and every view of a row of it, is made once."""

    def __init__(self, lanes: int, rows: int) -> None:
        """Take how many lanes there are, and the largest number of rows at a time."""
        self.states, self.rows = np.full(lanes, LOWEST_STATE, dtype=np.uint32), rows
        self._frequencies, self._starts, self._limits, self._complements = np.empty((4, rows, lanes), dtype=np.uint32)
        self._places = np.empty(rows * lanes, dtype=np.intp)
        # Row r of the history is the states after row r was coded, and row r + 1 those before it.
        self._history = np.empty((rows + 1, lanes), dtype=np.uint32)
        self._fits = np.empty((rows, lanes), dtype=np.bool_)
        looked_up = self._limits, self._frequencies, self._complements, self._starts
        self._steps = list(zip(*looked_up, self._fits, self._history[1:], self._history[:-1], strict=True))

    def encode(self, indices: Symbols, packed: Words) -> NDArray[np.uint16]:
        """Code whole rows, the last of which may be short, and return their words.

        ``packed`` has for every index the frequency, times 2**16, and the start.
        """
        lanes, size = len(self.states), len(indices)
        rows = -(-size // lanes)
        self._look_up(indices, packed, rows)
        history, fits = self._history[: rows + 1], self._fits[:rows]
        history[-1] = self.states
        self._walk(self._steps[rows - 1 :: -1] if rows else [])
        self.states[:] = history[0]
        fits.reshape(-1)[size:] = True
        return history[1:].reshape(-1).take(np.flatnonzero(~fits)).astype(np.uint16)

    def _look_up(self, indices: Symbols, packed: Words, rows: int) -> None:
        size, every = len(indices), rows * len(self.states)
        places = self._places[:size]
        places[:] = indices
        frequencies, starts, limits, complements = (
            each.reshape(-1)[:every] for each in (self._frequencies, self._starts, self._limits, self._complements)
        )
        packed.take(places, out=frequencies[:size], mode="clip")
        # Frequency SLOTS and start 0 leave a state as it is: what is missing in the last row is filled with them.
        frequencies[size:] = SLOTS << 16
        np.bitwise_and(frequencies, np.uint32(0xFFFF), starts)
        np.right_shift(frequencies, np.uint32(16), frequencies)
        np.left_shift(frequencies, np.uint32(32 - SYMBOL_BITS), limits)
        np.subtract(limits, np.uint32(1), limits)
        np.subtract(np.uint32(SLOTS), frequencies, complements)

    def _walk(self, steps: Sequence[tuple[NDArray[Any], ...]]) -> None:
        kept, scratch = np.empty_like(self.states), np.empty_like(self.states)
        width, copy = np.full(len(kept), _WORD_BITS, dtype=np.uint32), np.copyto
        # Positional outputs: a keyword costs as much as the arithmetic on a few dozen lanes.
        for limit, frequency, complement, start, fits, old, new in steps:
            np.less_equal(old, limit, fits)
            np.right_shift(old, width, kept)
            copy(kept, old, where=fits)
            # state // f * SLOTS + state % f + start, with one multiplication
            np.floor_divide(kept, frequency, scratch)
            np.multiply(scratch, complement, scratch)
            np.add(kept, scratch, kept)
            np.add(kept, start, new)


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
