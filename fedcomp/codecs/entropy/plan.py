"""How the encoder codes a stream: which bits go to the table, how many symbols to a step. It alone runs this."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.entropy.tables import (
    MAX_ALPHABET,
    MAX_COMBINATIONS,
    GroupTable,
    Ints,
    group_table,
    symbol_frequencies,
)

Probabilities = NDArray[np.float64]
_ESCAPE_BITS = 16
_GROUPS = (16, 12, 8, 6, 5, 4, 3, 2)


@dataclass(frozen=True, eq=False)
class StreamPlan:
    """Low bits that travel as they are, frequencies of what is above them, their table, and an estimate of all bits."""

    low_bits: int
    frequencies: Ints
    table: GroupTable
    bits: float


def plan_stream(numbers: NDArray[np.uint32]) -> StreamPlan:
    """Return the plan for a stream of one number or more that is expected to cost the fewest bits in few steps.

    The estimate takes symbols to be independent. The group is the largest that costs at most 0.3 % more than single
    symbols.
    """
    low_bits, counts = _split_point(numbers)
    frequencies = symbol_frequencies(counts)
    probabilities = counts / counts.sum()
    table = group_table(frequencies, 1)
    cost = bits_per_symbol(table, probabilities)
    for group in _GROUPS:
        if len(counts) ** group <= MAX_COMBINATIONS:
            grouped = group_table(frequencies, group)
            if bits_per_symbol(grouped, probabilities) <= 1.003 * cost + 1e-6:
                table = grouped
                break
    return StreamPlan(low_bits, frequencies, table, len(numbers) * (cost + low_bits) + 12 * len(counts[counts > 0]))


def _split_point(numbers: NDArray[np.uint32]) -> tuple[int, Ints]:
    """Return how many low bits to send as they are, and the counts of what is above them.

    More low bits mean a shorter table; fewer mean that more of the shape is used. The estimate takes 12 bits a symbol.
    """
    finest = max(int(numbers.max()).bit_length() - (MAX_ALPHABET.bit_length() - 1), 0)
    counts = np.bincount((numbers >> np.uint32(finest)).astype(np.intp))
    best, best_bits, chosen = finest, np.inf, counts
    for low_bits in range(finest, 32):
        used = counts[counts > 0]
        bits = len(numbers) * low_bits + float(np.sum(used * np.log2(len(numbers) / used))) + 12 * len(used)
        if bits < best_bits:
            best, best_bits, chosen = low_bits, bits, counts
        if len(counts) == 1:
            break
        counts = np.pad(counts, (0, len(counts) % 2)).reshape(-1, 2).sum(axis=1)
    return best, chosen


def bits_per_symbol(table: GroupTable, probabilities: Probabilities, escape_bits: int = _ESCAPE_BITS) -> float:
    """Return the bits that a symbol takes in groups, if symbols are independent and of these probabilities."""
    joint = probabilities
    for _ in range(table.group - 1):
        joint = np.multiply.outer(joint, probabilities).ravel()
    slots, total = table.frequencies[: table.combinations], int(table.frequencies.sum())
    direct = slots > 0
    bits = float(np.sum(joint[direct] * np.log2(total / slots[direct])))
    if table.has_escape:
        bits += float(joint[~direct].sum()) * (np.log2(total / int(table.frequencies[-1])) + escape_bits)
    return bits / table.group
