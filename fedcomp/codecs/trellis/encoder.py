"""From a step and models to a payload: the search through all values, and what is written of its result."""

from dataclasses import dataclass

import numpy as np

from fedcomp.codecs.cursor import dump_number
from fedcomp.codecs.layout import dump_values
from fedcomp.codecs.trellis.bins import Floats
from fedcomp.codecs.trellis.blocks import Blocks, Indices
from fedcomp.codecs.trellis.estimate import Division, Learnt, estimate, guess
from fedcomp.codecs.trellis.lanes import encode_lanes
from fedcomp.codecs.trellis.learning import search_classes
from fedcomp.codecs.trellis.levels import dump_levels
from fedcomp.codecs.trellis.machine import BLOCK, MAX_LEVEL, POINT_BITS, Ints
from fedcomp.codecs.trellis.parts import Part, make_part
from fedcomp.codecs.trellis.search import MOST_PATHS, Numbers
from fedcomp.codecs.trellis.stream import (
    HEADER,
    LARGEST_STEP,
    MAX_LANES,
    MAX_STEPS,
    SMALLEST_STEP,
    dump_classes,
)
from fedcomp.codecs.trellis.table import Table

MAX_ERROR = 5.0
"""No decoded value is farther from what it was than so many steps."""
_LANE_BYTES, _TABLE_BYTES, _CHUNK = 3.0, 26.0, 2**8


def encode_trellis(values: Floats, step: float) -> bytes:
    """Return the payload of finite values, a float32 array of shape (size,), which stays untouched.

    Args:
        values: what to code.
        step: distance of neighbouring points of both quantizers together; the rate follows from it.

    Raises:
        ValueError: if the step is not in the range of the format, or too small for the largest value.
    """
    blocks = Blocks(values)
    scales = blocks.scales()
    division = Division.of(scales, checked_step(step, float(scales.peaks.max(initial=0))))
    if not division.members:
        return Found(division, (), 0, 0, dump_classes(division.of_block, 0)).dump()
    learnt = estimate(blocks, scales, division, guess(blocks, division)).taught
    found = estimate(blocks, scales, division, learnt)
    return search(blocks, division, found.taught, found.bits).dump()


def checked_step(step: float, largest: float) -> float:
    """Return a step as the format has it, for values of up to a magnitude; refuse what is out of its range."""
    step = float(np.float32(step))
    if not SMALLEST_STEP <= step <= LARGEST_STEP or not largest < step * MAX_LEVEL:
        raise ValueError(f"step must be in [2**-100, 2**100] and over {largest} / {MAX_LEVEL}, got {step}")
    return step


@dataclass(frozen=True, eq=False)
class Found:
    """What a search found: a part a class, and how many lanes of how many paths code them.

    ``packed`` is the classes of the blocks, and ``error`` the squared error of the values that are coded, if measured.
    """

    division: Division
    parts: tuple[Part, ...]
    lanes: int
    ratio: int
    packed: bytes = b""
    error: float = 0.0

    @property
    def size(self) -> float:
        """About how many bytes the payload has."""
        beside = HEADER.size + 1 + len(self.packed)
        return beside + sum(part.size for part in self.parts) + _LANE_BYTES * self.lanes

    def dump(self) -> bytes:
        """Return the payload."""
        states, words = encode_lanes([part.batch for part in self.parts], self.lanes)
        head = HEADER.pack(self.division.step, self.lanes, self.ratio, len(words), len(self.parts))
        tables = [part.table.dump() for part in self.parts]
        beside = [dump_levels(part.table, part.extras, part.low) for part in self.parts]
        lanes = [dump_values(states), dump_values(words)]
        return b"".join([head, dump_number(len(self.packed)), self.packed, *tables, *beside, *lanes])


def expected_size(division: Division, bits: float) -> float:
    """Return about how many bytes a payload has whose values take so many bits."""
    number = len(division.members)
    beside = HEADER.size + 1 + _expected_classes(division) + _TABLE_BYTES * number
    return beside + bits / 8 + _LANE_BYTES * num_lanes(division.size, bits)


def _expected_classes(division: Division) -> float:
    """Return about how many bytes the classes of the blocks take."""
    number = len(division.members)
    if division.of_block.min() == number:
        return 0.0
    counts = np.bincount(np.diff(division.of_block, prepend=np.uint8(0)) % (number + 1))
    counts = counts[counts > 0]
    return float(counts @ np.log2(counts.sum() / counts)) / 8 + _TABLE_BYTES


def search(blocks: Blocks, division: Division, learnt: Learnt, bits: float, *, measure: bool = False) -> Found:
    """Return what a search through all values finds with models of the division's classes.

    Args:
        blocks: where the values are.
        division: their classes, one at least.
        learnt: a model a class.
        bits: about how many the values take: fewer bits, fewer lanes.
        measure: whether the error is wanted.
    """
    lanes = num_lanes(division.size, bits)
    ratio = min(division.size // BLOCK, MOST_PATHS) // lanes
    numbers = search_classes(blocks, division.step, division.members, learnt.models, lanes * ratio)
    error = 0.0
    if measure:
        of_classes = zip(numbers, division.members, learnt.models, strict=True)
        error = sum(_error(found, blocks, members, model.shifts, division.step) for found, members, model in of_classes)
    # The last first: numbers that have become symbols are let go.
    parts = tuple(make_part(numbers.pop(), model.shifts) for model in reversed(learnt.models))[::-1]
    return Found(division, parts, lanes, ratio, dump_classes(division.of_block, len(parts)), error)


def _error(numbers: Numbers, blocks: Blocks, members: Indices, shifts: Ints, step: float) -> float:
    """Return the squared error of the values of a class, exactly that of what is decoded."""
    scale = np.float32(step) * np.float32(2.0**-POINT_BITS)
    table = Table(0, 0, 0, shifts, (b"", b""))
    every = np.arange(min(int(numbers.max()) + 1, 2**16))
    by_number = table.points(every >> 2 ^ -(every >> 1 & 1), every & 1).astype(np.float32) * scale
    total = 0.0
    for at in range(0, len(members), _CHUNK):
        found, values = numbers[at * BLOCK : (at + _CHUNK) * BLOCK], blocks.take(members[at : at + _CHUNK])
        if numbers.dtype == np.uint16:
            decoded = by_number.take(found)
        else:
            wide = found.astype(np.int64)
            decoded = table.points(wide >> 2 ^ -(wide >> 1 & 1), wide & 1).astype(np.float32) * scale
        total += float(np.sum(np.square(np.subtract(values, decoded, dtype=np.float64))))
    return total


def num_lanes(size: int, bits: float) -> int:
    """Return how many lanes to use: each costs about three bytes, and saves steps; at most one a block."""
    fewest = -(-size // (MAX_STEPS - 2**8))
    wanted = max(min(size // 3072, int(bits / 400)), fewest, 4)
    return min(wanted, size // BLOCK, MAX_LANES)
