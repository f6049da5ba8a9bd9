"""Which table a class gets: the one with the fewest bits for itself, its levels and its steps. The encoder alone
runs this."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.entropy.hazards import MAX_HAZARDS, fit_hazards, hazard_frequencies
from fedcomp.codecs.entropy.plan import bits_per_symbol
from fedcomp.codecs.entropy.tables import (
    MAX_ALPHABET,
    MAX_COMBINATIONS,
    MAX_GROUP,
    SYMBOL_BITS,
    GroupTable,
    Ints,
    dump_frequencies,
    group_table,
    symbol_frequencies,
)
from fedcomp.codecs.rate.tables import MAX_LEVEL_BITS, ZEROS, LevelTable, escape_bits, slots_of

Floats = NDArray[np.float64]
_STEP_BITS = 0.002
"""What one group costs beside its bits: a share of a lane, and time."""
_MAX_COUNTED, _SKIP, _FEW, _CHUNK = 2**15, 5, 10, 2**16
_MAX_LOW_BITS = 15
_GROUPS = np.array([0, 16, *(int(np.log(MAX_COMBINATIONS + 0.5) / np.log(a)) for a in range(2, MAX_ALPHABET + 1))])
_GROUPS = np.clip(_GROUPS, 1, MAX_GROUP)
_TOPS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 511])


@dataclass(frozen=True, eq=False)
class TablePlan:
    """A table, its slots, and how many bits the levels take with it, the table's own among them."""

    table: LevelTable
    slots: GroupTable | None
    bits: float


NO_TABLE = TablePlan(ZEROS, None, 8.0)
"""Of a class whose levels are all 0."""


class Counts:
    """How often each zigzag number of a class occurs: up to 2**15 all of them, and above without some low bits."""

    def __init__(self, numbers: NDArray[Any]) -> None:
        """Count numbers, of which there is one at least."""
        self.size, self.largest = len(numbers), int(numbers.max())
        self._levels = [_count(numbers, 0)]
        self.mean_bits = int(numbers.sum(dtype=np.int64) // len(numbers)).bit_length()
        while self.largest >> _SKIP * len(self._levels) > _MAX_COUNTED and len(self._levels) < 4:
            self._levels.append(_count(numbers, _SKIP * len(self._levels)))

    def without(self, low_bits: int) -> tuple[Ints, int]:
        """Return counts of sizes, numbers without low bits or magnitudes if there are none, and how many are larger."""
        level = min(low_bits // _SKIP, len(self._levels) - 1)
        counts = self._levels[level]
        above = self.size - int(counts.sum())
        if low_bits == 0:
            return np.append(counts[:1], _fold(counts[1:], 1)), above
        return _fold(counts, low_bits - _SKIP * level), above


def plan_table(counts: Counts) -> TablePlan:
    """Return the plan for a class."""
    if counts.largest == 0:
        return NO_TABLE
    low_bits, top, octaves = _shape(counts)
    sizes, above = counts.without(low_bits)
    by_symbol = _by_symbol(sizes, top, octaves)
    by_symbol[-1] += above
    # Where there are sizes that were not counted one by one, a symbol that occurs may seem not to: no zeros then.
    return _plan(by_symbol, (low_bits, top, octaves), exact=above == 0)


def _plan(counts: Ints, shape: tuple[int, int, int], *, exact: bool) -> TablePlan:
    """Return the plan of a shape, from counts of its symbols."""
    low_bits, top, octaves = shape
    size, signs = int(counts.sum()), 0 if low_bits else int(counts[1:].sum())
    hazards: bytes | None = fit_hazards(counts)
    frequencies = hazard_frequencies(hazards or b"\0", len(counts) - 1, signed=False)
    bits = _coded_bits(counts, frequencies) + 8 * len(hazards or b"")
    explicit = symbol_frequencies(counts)
    if exact and _coded_bits(counts, explicit) + 8 * np.count_nonzero(counts) < bits:
        explicit_bits = _coded_bits(counts, explicit) + 8 * len(dump_frequencies(explicit)) + 8
        if explicit_bits < bits:
            hazards, frequencies = None, explicit
    slots, coded = _choose_group(frequencies, counts / size)
    table = LevelTable(top, octaves, low_bits, slots.group, hazards, frequencies)
    beside = int(counts[top:] @ np.arange(octaves)) + signs + size * low_bits
    return TablePlan(table, slots, size * coded + beside + 8 * len(table.dump()))


def _shape(counts: Counts) -> tuple[int, int, int]:
    """Return low bits, top and octaves of the least estimated cost."""
    best, chosen, worse = np.inf, (0, 1, 1), 0
    for low_bits in range(min(max(counts.mean_bits - 7, 0), 15), 16):
        sizes, above = counts.without(low_bits)
        last = counts.largest >> low_bits if low_bits else (counts.largest + 1) >> 1
        if last == 0 or worse > 1:
            break
        cost, top, octaves = _best_top(sizes, above, last)
        signs = 0.0 if low_bits else counts.size - float(sizes[0])
        cost += counts.size * low_bits + signs
        worse = 0 if cost < best else worse + 1
        if cost < best:
            best, chosen = cost, (low_bits, top, octaves)
    return chosen


def _best_top(counts: Ints, larger: int, last: int) -> tuple[float, int, int]:
    """Return the estimated bits of sizes up to ``last``, with the top and the octaves that need the fewest."""
    tops = np.append(_TOPS[len(counts) - 1 > _TOPS], min(len(counts) - 1, _TOPS[-1]))
    octaves = np.frexp(last - tops + 1)[1]
    alphabets = tops + octaves
    tops, octaves, alphabets = (found[alphabets <= MAX_ALPHABET] for found in (tops, octaves, alphabets))
    size = float(counts.sum() + larger)
    below = np.concatenate([[0], np.cumsum(counts)])
    borders = np.minimum(tops[:, None] - 1 + 2 ** np.arange(MAX_LEVEL_BITS + 1), len(counts))
    wide = np.diff(below[borders], axis=1)
    wide[np.arange(len(tops)), octaves - 1] += larger
    exact = np.concatenate([[0.0], np.cumsum(_estimate(counts, size))])
    octave = np.arange(MAX_LEVEL_BITS)
    above = np.where(octave < octaves[:, None], _estimate(wide, size) + octave * wide, 0.0)
    table = np.where(alphabets > MAX_HAZARDS + 1, 12.0 * alphabets, 8.0 * np.minimum(alphabets, 3 + size / 200))
    costs = exact[tops] + above.sum(axis=1) + table
    costs += size * _STEP_BITS / _GROUPS[alphabets]
    at = int(np.argmin(costs))
    return float(costs[at]), int(tops[at]), int(octaves[at])


def _estimate(counts: Ints, size: float) -> Floats:
    """Return bits for each count, and what the others lose because none has less than one part in 2**14."""
    least = size / 2**SYMBOL_BITS
    bits = counts * np.log2(size / np.maximum(counts, least)) + np.log2(np.e) * np.maximum(least - counts, 0)
    return np.asarray(bits, dtype=np.float64)


def _choose_group(frequencies: Ints, probabilities: Floats) -> tuple[GroupTable, float]:
    """Return the table, and the bits of a symbol with it."""
    best = slots_of(frequencies, 1)
    bits = bits_per_symbol(best, probabilities)
    group = int(_GROUPS[len(frequencies)])
    for size in range(group, max(group - 3, 1), -1):
        table = group_table(frequencies, size)
        found = bits_per_symbol(table, probabilities, escape_bits(table))
        if found + _STEP_BITS / size < bits + _STEP_BITS:
            return table, found
    return best, bits


def _coded_bits(counts: Ints, frequencies: Ints) -> float:
    used = counts > 0
    return float(np.sum(counts[used] * (SYMBOL_BITS - np.log2(frequencies[used]))))


def _count(numbers: NDArray[Any], low_bits: int) -> Ints:
    """Return counts of numbers without low bits, of those up to 2**15."""
    counts = np.zeros(min(int(numbers.max()) >> low_bits, _MAX_COUNTED + 1) + 1, dtype=np.int64)
    for at in range(0, len(numbers), _CHUNK):
        part = numbers[at : at + _CHUNK]
        if len(counts) > _MAX_COUNTED or low_bits:
            part = np.minimum(part >> part.dtype.type(low_bits), part.dtype.type(_MAX_COUNTED + 1))
        if len(counts) <= _FEW:
            counts += [np.count_nonzero(part == part.dtype.type(number)) for number in range(len(counts))]
        else:
            counts += np.bincount(part, minlength=len(counts))
    return counts[: _MAX_COUNTED + 1]


def _fold(counts: Ints, times: int) -> Ints:
    """Return the counts without so many more low bits."""
    return np.pad(counts, (0, -len(counts) % 2**times)).reshape(-1, 2**times).sum(axis=1) if times else counts


def _by_symbol(counts: Ints, top: int, octaves: int) -> Ints:
    """Return counts of symbols from counts of sizes."""
    below = np.concatenate([[0], np.cumsum(counts)])
    borders = np.concatenate([np.arange(top), top - 1 + 2 ** np.arange(octaves + 1)])
    borders[-1] = len(counts)
    return np.asarray(np.diff(below[np.minimum(borders, len(counts))]), dtype=np.int64)
