"""The same range coding as ``lanes``, number by number: faster where there are so few lanes that numpy has no work."""

from collections.abc import Sequence

MOST_LANES, FEWEST_ROWS = 16, 80
"""From which number of lanes on, and up to how many rows, numpy's calls cost less than Python's steps."""
_WORD_BITS, _LOWEST_STATE = 16, 2**16
_LAST_WORD = 2**_WORD_BITS - 1


def encode_groups(states: list[int], packed: Sequence[int], slot_bits: int) -> list[int]:
    """Code groups into ``states``, in place, and return their words in the order of the decoder.

    Args:
        states: one a lane.
        packed: of every group the frequency above, and below 2**16 the start.
        slot_bits: binary logarithm of the number of slots.
    """
    words: list[int] = []
    lanes, limit_bits = len(states), 32 - slot_bits
    for index in range(len(packed) - 1, -1, -1):
        lane, found = index % lanes, packed[index]
        state, frequency = states[lane], found >> 16
        if state >= frequency << limit_bits:
            words.append(state & _LAST_WORD)
            state >>= _WORD_BITS
        whole, rest = divmod(state, frequency)
        states[lane] = (whole << slot_bits) + rest + (found & _LAST_WORD)
    words.reverse()
    return words


def decode_groups(states: list[int], packed: Sequence[int], words: Sequence[int], count: int) -> tuple[list[int], int]:
    """Decode ``count`` groups from ``states``, in place; return the slot of each, and how many words that took.

    Args:
        states: one a lane.
        packed: of every slot the frequency of its entry above, and below 2**16 its place in it; a power of two of them.
        words: what is left of them; ``IndexError`` if there are too few.
        count: how many groups.
    """
    slots: list[int] = []
    lanes, at, last_slot, slot_bits = len(states), 0, len(packed) - 1, len(packed).bit_length() - 1
    for index in range(count):
        lane = index % lanes
        state = states[lane]
        slot = state & last_slot
        slots.append(slot)
        found = packed[slot]
        state = (found >> 16) * (state >> slot_bits) + (found & _LAST_WORD)
        if state < _LOWEST_STATE:
            state = state << _WORD_BITS | words[at]
            at += 1
        states[lane] = state
    return slots, at
