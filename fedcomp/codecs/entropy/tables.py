"""Frequency tables of the range coder: several symbols at once, by integer arithmetic alone.

A stream of few distinct symbols would cost one coding step a symbol. Instead ``group`` symbols are coded in one step,
with the product of their frequencies: four levels of 1.4 bits are one step of 5.6 bits. Only the frequencies of single
symbols travel; encoder and decoder derive the same products, which is why every operation here is on integers. Groups
too rare to get a slot share an escape, and their index travels verbatim.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor, dump_number

Ints = NDArray[np.int64]
SYMBOL_BITS, SLOT_BITS = 14, 15
SLOTS = 2**SLOT_BITS
"""Frequencies of single symbols sum to 2**14, those of groups to 2**15."""
MAX_ALPHABET, MAX_GROUP, MAX_COMBINATIONS = 1024, 16, 4096
_TOTAL = 2**SYMBOL_BITS


@dataclass(frozen=True, eq=False)
class GroupTable:
    """Slots of every group of symbols; the last entry is the escape, if ``group`` is more than 1.

    A group is numbered in base ``alphabet`` with its first symbol as the highest digit.
    """

    alphabet: int
    group: int
    frequencies: Ints

    @property
    def has_escape(self) -> bool:
        """Whether the last entry stands for all groups without slots."""
        return self.group > 1

    @property
    def combinations(self) -> int:
        """How many groups there are."""
        return int(self.alphabet**self.group)


def symbol_frequencies(counts: Ints) -> Ints:
    """Return frequencies that sum to 2**14, nearly in proportion to counts of which one at least is positive.

    Every symbol that occurs gets one at least. The encoder alone runs this; its result travels.
    """
    scaled = np.maximum(counts * _TOTAL // counts.sum(), counts > 0)
    return with_sum(scaled, _TOTAL)


def group_table(frequencies: Ints, group: int) -> GroupTable:
    """Return the table of ``group`` symbols at once. Normative: a decoder must get the same numbers.

    Args:
        frequencies: one a symbol, sum 2**14.
        group: symbols a group, ``len(frequencies) ** group`` at most 4096 unless it is 1.
    """
    if group == 1:
        return GroupTable(len(frequencies), 1, frequencies << (SLOT_BITS - SYMBOL_BITS))
    products = frequencies << (32 - SYMBOL_BITS)
    for _ in range(group - 1):
        products = ((products[:, None] * frequencies) >> SYMBOL_BITS).ravel()
    half = 1 << (31 - SLOT_BITS)
    slots = (products + half) >> (32 - SLOT_BITS)
    escape = max(int(products[slots == 0].sum() + half) >> (32 - SLOT_BITS), 1)
    return GroupTable(len(frequencies), group, np.append(with_sum(slots, SLOTS - escape), escape))


def dump_frequencies(frequencies: Ints) -> bytes:
    """Return frequencies as LEB128 numbers; a 0 is followed by how many more zeros come after it."""
    out: list[bytes] = []
    index, numbers = 0, frequencies.tolist()
    while index < len(numbers):
        out.append(dump_number(numbers[index]))
        if numbers[index] == 0:
            run = index
            while index + 1 < len(numbers) and numbers[index + 1] == 0:
                index += 1
            out.append(dump_number(index - run))
        index += 1
    return b"".join(out)


def read_frequencies(cursor: Cursor, alphabet: int) -> Ints:
    """Return the frequencies of ``alphabet`` symbols.

    Raises:
        PayloadError: if they end early, are too many, or do not sum to 2**14.
    """
    numbers: list[int] = []
    while len(numbers) < alphabet:
        value = cursor.number()
        run = cursor.number() if value == 0 else 0
        numbers.extend([value] * (1 + min(run, alphabet)))
    if len(numbers) != alphabet or sum(numbers) != _TOTAL:
        raise PayloadError(f"expected {alphabet} frequencies of sum {_TOTAL}, got {len(numbers)} of {sum(numbers)}")
    return np.array(numbers, dtype=np.int64)


def with_sum(slots: Ints, total: int) -> Ints:
    """Return slots changed by as little as makes their sum ``total``; the largest give or take first.

    Every round, each of the largest entries (ties by index) gives or takes an equal share, one at least. No entry that
    has a slot loses its last one; one that has none gets none. Normative for groups.
    """
    slots = slots.copy()
    while excess := int(slots.sum()) - total:
        order = np.argsort(-slots, kind="stable")
        eligible = order[slots[order] > (1 if excess > 0 else 0)]
        share = max(abs(excess) // len(eligible), 1)
        chosen = eligible[: abs(excess)]
        slots[chosen] -= np.minimum(share, slots[chosen] - 1) if excess > 0 else -share
    return slots
