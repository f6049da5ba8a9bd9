"""Interleaved range coding (rANS: Duda 2013; interleaved: Giesen 2014), vectorised over lanes.

Every lane has a 32-bit state of its own; all write 16-bit words to one stream. A step codes one group a lane: step
``t`` of a batch the groups ``t * lanes`` up to ``(t + 1) * lanes - 1``. Batches with tables of their own follow each
other in the same lanes, so that the bytes of the states are paid once. The decoder goes forward, the encoder backward.
Every lane of the encoder starts from the same state, so a decoder that does not end there has read damage; or from that
state plus 16 bits of other data, which the decoder ends with, so that a lane costs one byte and not three.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.entropy.scalar import FEWEST_ROWS, MOST_LANES, decode_groups, encode_groups
from fedcomp.codecs.entropy.tables import Ints

Words = NDArray[np.uint32]
LOWEST_STATE = 2**16
_WORD_BITS = 16
_LOW_HALF = 0 if sys.byteorder == "little" else 1
_CHUNK = 2**15
"""Groups that are looked up at once: what is made of them stays in the cache."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Groups, each an index with a frequency above 0, and the frequencies, whose sum is a power of two up to 2**15."""

    indices: NDArray[Any]
    frequencies: Ints


def encode_lanes(batches: Sequence[Batch], lanes: int) -> tuple[Words, NDArray[np.uint16]]:
    """Return the states of the lanes and the words in the order in which a decoder reads them."""
    encoder = LaneEncoder(lanes)
    for batch in reversed(batches):
        encoder.push(batch)
    return encoder.finish()


class LaneEncoder:
    """Codes batches, the last one first, so that only one of them need be in memory."""

    def __init__(self, lanes: int, carried: NDArray[np.uint16] | None = None) -> None:
        """Start every lane from the lowest state plus what it is to carry to the decoder's end, nothing if left out."""
        self._states = np.full(lanes, LOWEST_STATE, dtype=np.uint32)
        if carried is not None:
            self._states += carried
        self._words: list[NDArray[np.uint16]] = []

    def push(self, batch: Batch) -> None:
        """Code a batch that comes before everything pushed so far."""
        lanes, count = len(self._states), len(batch.indices)
        # One look-up a group: the frequency above, the start below. All slots from start 0 on leave a state as it is:
        # what is missing in the last row is filled with them.
        starts, total = np.cumsum(batch.frequencies) - batch.frequencies, int(batch.frequencies.sum())
        packed = ((batch.frequencies << 16) | starts).astype(np.uint32)
        rows = max(_CHUNK // max(lanes, 1), 1) * lanes
        for at in reversed(range(0, count, rows)):
            part = batch.indices[at : at + rows].astype(np.intp)
            found = np.full(-(-len(part) // lanes) * lanes, total << 16, dtype=np.uint32)
            packed.take(part, out=found[: len(part)], mode="clip")
            code = _encode_singly if lanes <= MOST_LANES else _encode_rows
            self._words.append(code(self._states, found.reshape(-1, lanes)[::-1], total.bit_length() - 1))

    def finish(self) -> tuple[Words, NDArray[np.uint16]]:
        """Return the states and the words."""
        return self._states, np.concatenate([np.empty(0, dtype=np.uint16), *reversed(self._words)])


def _encode_rows(states: Words, packed: Words, slot_bits: int) -> NDArray[np.uint16]:
    """Code rows of groups into ``states``, in place, the last row of a decoder first, and return their words."""
    frequencies, starts = packed >> np.uint32(16), packed & np.uint32(0xFFFF)
    # In 32 bits the frequency of all slots gives the limit that no state exceeds.
    limits = (frequencies << np.uint32(32 - slot_bits)) - np.uint32(1)
    complements = np.uint32(1 << slot_bits) - frequencies
    full_rows, low = np.empty(packed.shape, dtype=np.bool_), np.empty(packed.shape, dtype=np.uint16)
    scratch, width = np.empty_like(states), np.full(len(states), _WORD_BITS, dtype=np.uint32)
    # Positional outputs: a keyword costs as much as the arithmetic on a few dozen lanes.
    for limit, frequency, complement, start, full, row in zip(
        limits, frequencies, complements, starts, full_rows[::-1], low[::-1], strict=True
    ):
        np.greater(states, limit, full)
        row[:] = states
        np.multiply(full, width, scratch)
        np.right_shift(states, scratch, states)
        # state // f * slots + state % f + start, with one multiplication
        np.floor_divide(states, frequency, scratch)
        np.multiply(scratch, complement, scratch)
        np.add(states, scratch, states)
        np.add(states, start, states)
    return np.compress(full_rows.reshape(-1), low.reshape(-1))


def _encode_singly(states: Words, packed: Words, slot_bits: int) -> NDArray[np.uint16]:
    """Do what ``_encode_rows`` does; groups that are missing in the last row change nothing here either."""
    found = states.tolist()
    words = encode_groups(found, packed[::-1].reshape(-1).tolist(), slot_bits)
    states[:] = found
    return np.array(words, dtype=np.uint16)


class LaneDecoder:
    """Reads batches, one after the other, from states and words."""

    def __init__(self, states: Words, words: NDArray[np.uint16]) -> None:
        """Take the states and the words; raises ``PayloadError`` if a state is smaller than any encoder leaves."""
        if states.min(initial=LOWEST_STATE) < LOWEST_STATE:
            raise PayloadError(f"expected lane states of at least {LOWEST_STATE}, got {states.min()}")
        self._states, self._words = states.astype(np.uint32), words.astype(np.uint32)
        self._at = 0

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return len(self._states)

    def read(self, frequencies: Ints, count: int) -> NDArray[np.uint16]:
        """Return the ``count`` indices of the next batch, of frequencies whose sum is a power of two up to 2**15.

        Raises:
            PayloadError: if the words end early.
        """
        lanes, times = len(self._states), frequencies.astype(np.intp)
        by_slot = np.repeat(frequencies << 16, times)
        by_slot += np.arange(len(by_slot)) - np.repeat(np.cumsum(frequencies) - frequencies, times)
        packed = by_slot.astype(np.uint32)
        indices = np.repeat(np.arange(len(frequencies), dtype=np.uint16), times)
        slots = np.empty(count, dtype=np.uint16)
        whole = count // lanes
        if 0 < lanes <= MOST_LANES and whole >= FEWEST_ROWS:
            self._read_singly(packed.tolist(), slots)
            return self._look_up(indices, slots)
        self._read_rows(packed, slots[: whole * lanes].reshape(-1, lanes), self._states)
        if rest := count % lanes:
            self._read_rows(packed, slots[None, whole * lanes :], self._states[:rest])
        return self._look_up(indices, slots)

    def finish(self) -> None:
        """Refuse words that were not read, and lanes that do not end where an encoder starts."""
        used, carried = self.end()
        if used != len(self._words) or carried.any():
            raise PayloadError("the lanes of a coded stream do not end where an encoder starts")

    def end(self) -> tuple[int, NDArray[np.uint16]]:
        """Return how many words were read, and what the lanes carried; refuse states that no encoder starts from."""
        if self._states.max(initial=LOWEST_STATE) >= 2 * LOWEST_STATE:
            raise PayloadError("the lanes of a coded stream do not end where an encoder starts")
        return self._at, (self._states - np.uint32(LOWEST_STATE)).astype(np.uint16)

    @staticmethod
    def _look_up(indices: NDArray[np.uint16], slots: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Return, in place of slots, the indices whose slots they are."""
        for at in range(0, len(slots), _CHUNK):
            part = slots[at : at + _CHUNK]
            indices.take(part.astype(np.intp), out=part, mode="clip")
        return slots

    def _read_singly(self, packed: list[int], slots: NDArray[np.uint16]) -> None:
        """Do what ``_read_rows`` does, few groups at a time: a list takes ten times the memory of an array."""
        states, piece = self._states.tolist(), 256 * self.lanes
        for at in range(0, len(slots), piece):
            part = slots[at : at + piece]
            words = self._words[self._at : self._at + len(part)].tolist()
            try:
                part[:], taken = decode_groups(states, packed, words, len(part))
            except IndexError:
                raise PayloadError("a coded stream ends early") from None
            self._at += taken
        self._states[:] = states

    def _read_rows(self, packed: Words, slots: NDArray[np.uint16], states: Words) -> None:
        lanes, words, at, word_bits = len(states), self._words, self._at, np.uint32(_WORD_BITS)
        frequencies, places_in = packed >> np.uint32(16), packed & np.uint32(0xFFFF)
        width, lowest = np.full((2, lanes), [[len(packed).bit_length() - 1], [LOWEST_STATE]], dtype=np.uint32)
        last_slot, low_halves = np.full(lanes, len(packed) - 1, dtype=np.uint16), states.view(np.uint16)[_LOW_HALF::2]
        frequency, place_in = np.empty_like(states), np.empty_like(states)
        index, under = np.empty(lanes, dtype=np.intp), np.empty(lanes, dtype=np.bool_)
        for row in slots:
            np.bitwise_and(low_halves, last_slot, row)
            index[:] = row
            np.right_shift(states, width, states)
            frequencies.take(index, 0, frequency, "clip")
            places_in.take(index, 0, place_in, "clip")
            np.multiply(states, frequency, states)
            np.add(states, place_in, states)
            np.less(states, lowest, under)
            empty = under.nonzero()[0]
            if len(empty):
                end = at + len(empty)
                if end > len(words):
                    raise PayloadError("a coded stream ends early")
                filled = states.take(empty)
                filled <<= word_bits
                filled |= words[at:end]
                states[empty] = filled
                at = end
        self._at = at
