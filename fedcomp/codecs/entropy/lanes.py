"""Interleaved range coding (rANS: Duda 2013; interleaved: Giesen 2014), vectorised over lanes.

Every lane has a 32-bit state of its own; all write 16-bit words to one stream. A step codes one group a lane: step
``t`` of a batch the groups ``t * lanes`` up to ``(t + 1) * lanes - 1``. Batches with tables of their own follow each
other in the same lanes, so that the bytes of the states are paid once. The decoder goes forward, the encoder backward.
Every lane of the encoder starts from the same state, so a decoder that does not end there has read damage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.entropy.tables import SLOT_BITS, SLOTS, Ints

Words = NDArray[np.uint32]
LOWEST_STATE = 2**16
_WORD_BITS = 16


@dataclass(frozen=True, eq=False)
class Batch:
    """Groups, each an index with a frequency above 0, and the frequencies, of sum ``SLOTS``."""

    indices: Ints
    frequencies: Ints


def encode_lanes(batches: Sequence[Batch], lanes: int) -> tuple[Words, NDArray[np.uint16]]:
    """Return the states of the lanes and the words in the order in which a decoder reads them."""
    states = np.full(lanes, LOWEST_STATE, dtype=np.uint32)
    words = [_encode_batch(states, batch) for batch in reversed(batches)]
    return states, np.concatenate([np.empty(0, dtype=np.uint16), *reversed(words)])


def _encode_batch(states: Words, batch: Batch) -> NDArray[np.uint16]:
    """Code a batch into ``states``, in place, and return its words."""
    frequencies, lanes = batch.frequencies, len(states)
    rows = -(-len(batch.indices) // lanes)

    def per_step(table: Ints, neutral: int) -> Words:
        # Frequency SLOTS and start 0 leave a state as it is: what is missing in the last row is filled with them.
        filled = np.full(rows * lanes, neutral, dtype=np.uint32)
        filled[: len(batch.indices)] = table.astype(np.uint32)[batch.indices]
        return filled.reshape(rows, lanes)[::-1]

    tables = (
        per_step((frequencies << (32 - SLOT_BITS)) - 1, 2**32 - 1),
        per_step(frequencies, SLOTS),
        per_step(SLOTS - frequencies, 0),
        per_step(np.cumsum(frequencies) - frequencies, 0),
    )
    full_rows, low = np.empty((rows, lanes), dtype=np.bool_), np.empty((rows, lanes), dtype=np.uint32)
    scratch, width = np.empty_like(states), np.full(lanes, _WORD_BITS, dtype=np.uint32)
    # Positional outputs: a keyword costs as much as the arithmetic on a few dozen lanes.
    for limit, frequency, complement, start, full, row in zip(*tables, full_rows[::-1], low[::-1], strict=True):
        np.greater(states, limit, full)
        row[:] = states
        np.multiply(full, width, scratch)
        np.right_shift(states, scratch, states)
        # state // f * SLOTS + state % f + start, with one multiplication
        np.floor_divide(states, frequency, scratch)
        np.multiply(scratch, complement, scratch)
        np.add(states, scratch, states)
        np.add(states, start, states)
    return low[full_rows].astype(np.uint16)


class LaneDecoder:
    """Reads batches, one after the other, from states and words."""

    def __init__(self, states: Words, words: NDArray[np.uint16]) -> None:
        """Take the states and the words; raises ``PayloadError`` if a state is smaller than any encoder leaves."""
        if states.min(initial=LOWEST_STATE) < LOWEST_STATE:
            raise PayloadError(f"expected lane states of at least {LOWEST_STATE}, got {states.min()}")
        # 64 bits: numpy gathers by int64 without a conversion.
        self._states, self._words = states.astype(np.int64), words.astype(np.int64)
        self._at = 0

    def read(self, frequencies: Ints, count: int) -> NDArray[np.uint16]:
        """Return the ``count`` indices of the next batch.

        Raises:
            PayloadError: if the words end early.
        """
        lanes, times = len(self._states), frequencies.astype(np.intp)
        by_slot = np.empty((SLOTS, 2), dtype=np.int64)
        by_slot[:, 0] = np.repeat(frequencies, times)
        by_slot[:, 1] = np.arange(SLOTS) - np.repeat(np.cumsum(frequencies) - frequencies, times)
        slots = np.empty((-(-count // lanes), lanes), dtype=np.uint16)
        self._read_rows(by_slot, slots[: count // lanes], self._states)
        if rest := count % lanes:
            self._read_rows(by_slot, slots[-1:, :rest], self._states[:rest])
        return np.repeat(np.arange(len(frequencies), dtype=np.uint16), times)[slots.ravel()[:count]]

    def finish(self) -> None:
        """Refuse words that were not read, and lanes that do not end where an encoder starts."""
        if self._at != len(self._words) or (self._states != LOWEST_STATE).any():
            raise PayloadError("the lanes of a coded stream do not end where an encoder starts")

    def _read_rows(self, by_slot: Ints, slots: NDArray[np.uint16], states: Ints) -> None:
        lanes, words, at = len(states), self._words, self._at
        last_slot, width, lowest = np.full((3, lanes), [[SLOTS - 1], [SLOT_BITS], [LOWEST_STATE]], np.int64)
        slot, found, under = np.empty_like(states), np.empty((lanes, 2), dtype=np.int64), np.empty(lanes, np.bool_)
        frequency, offset = found[:, 0], found[:, 1]
        for row in slots:
            np.bitwise_and(states, last_slot, slot)
            row[:] = slot
            np.right_shift(states, width, states)
            by_slot.take(slot, 0, found, "clip")
            np.multiply(states, frequency, states)
            np.add(states, offset, states)
            np.less(states, lowest, under)
            places = under.nonzero()[0]
            if len(places):
                end = at + len(places)
                if end > len(words):
                    raise PayloadError("a coded stream ends early")
                states[places] = (states[places] << _WORD_BITS) | words[at:end]
                at = end
        self._at = at
