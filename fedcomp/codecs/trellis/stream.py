"""The payload of mode ``max``: header, classes of blocks, a table a class, what goes beside the lanes, the lanes.

step f32 | lanes u16 | paths a lane u16 | words u32 | classes u8 | size of the next, LEB128 | classes of blocks
| tables | of every class: number of extras, LEB128, extras, low bits | states, u32 each | words, u16 each
"""

import struct

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor, dump_number
from fedcomp.codecs.entropy.stream import read_stream, write_stream
from fedcomp.codecs.layout import dump_values, load_values
from fedcomp.codecs.stage import Spec
from fedcomp.codecs.trellis.classes import Classes, choose_classes
from fedcomp.codecs.trellis.lanes import LaneDecoder, encode_lanes
from fedcomp.codecs.trellis.learning import ROUNDS, learn_models, search_classes
from fedcomp.codecs.trellis.levels import Levels, dump_levels
from fedcomp.codecs.trellis.machine import BLOCK, MAX_LEVEL
from fedcomp.codecs.trellis.model import Model
from fedcomp.codecs.trellis.parts import make_part
from fedcomp.codecs.trellis.table import read_table

MAX_STEPS, MAX_LANES, MAX_PATHS = 2**14, 2**16 - 1, 2**16
_MOST_PATHS = 4096
_SMALL, _TABLE_BYTES = 2**16, 24
_SMALLEST_STEP, _LARGEST_STEP = 2.0**-100, 2.0**100
_HEADER = struct.Struct("<fHHIB")
MAX_ERROR = 5.0
"""No decoded value is farther from what it was than so many steps."""
Floats = NDArray[np.float32]


def encode_trellis(values: Floats, step: float) -> bytes:
    """Return the payload of finite values, a float32 array of shape (size,), which stays untouched.

    Args:
        values: what to code.
        step: distance of neighbouring points of both quantizers together; the rate follows from it.

    Raises:
        ValueError: if the step is not in the range of the format, or too small for the largest value.
    """
    step = _checked_step(values, step)
    blocks, members, classes = _classify(values, step)
    number = len(members)
    models = learn_models(blocks, step, members) if number else []
    size = BLOCK * sum(len(of_class) for of_class in members)
    lanes = _num_lanes(size, int(_num_bits(members, models) / 8))
    ratio = min(size // BLOCK, _MOST_PATHS) // lanes if lanes else 0
    numbers = search_classes(blocks, step, members, models, lanes * ratio) if number else []
    parts = [make_part(found, model.shifts) for found, model in zip(numbers, models, strict=True)]
    del numbers
    states, words = encode_lanes([part.batch for part in parts], lanes)
    packed = _dump_classes(classes, number)
    out = [_HEADER.pack(step, lanes, ratio, len(words), number), dump_number(len(packed)), packed]
    out += [part.table.dump() for part in parts]
    out += [dump_levels(part.table, part.extras, part.low) for part in parts]
    return b"".join([*out, dump_values(states), dump_values(words)])


def trellis_bits(values: Floats, step: float) -> float:
    """Return about how many bits a value ``encode_trellis`` would take: for rate control, in a fraction of the time.

    Exact up to 2**16 values. Beyond that from a sample: within 2 % from a bit on, and up to a tenth too little below.

    Raises:
        ValueError: as ``encode_trellis``.
    """
    step = _checked_step(values, step)
    if len(values) <= _SMALL:
        return 8 * len(encode_trellis(values, step)) / max(len(values), 1)
    blocks, members, classes = _classify(values, step)
    if not members:
        return 8 * _HEADER.size / len(values)
    # What the models have learnt is about the round before the last: the search itself is one more.
    bits = _num_bits(members, learn_models(blocks, step, members, rounds=ROUNDS + 1))
    size = BLOCK * sum(len(of_class) for of_class in members)
    beside = _HEADER.size + len(_dump_classes(classes, len(members))) + _TABLE_BYTES * len(members)
    return (bits + 8 * beside + 24 * _num_lanes(size, int(bits / 8))) / len(values)


def decode_trellis(data: memoryview, size: int) -> Floats:
    """Return the ``size`` values of a payload.

    Args:
        data: bytes from anywhere.
        size: how many values the caller expects; nothing is allocated that this does not justify.

    Raises:
        PayloadError: for the first thing that is wrong.
    """
    cursor = Cursor(data)
    step, lanes, ratio, num_words, number = cursor.unpack(_HEADER)
    if not _SMALLEST_STEP <= step <= _LARGEST_STEP:
        raise PayloadError(f"expected a step in [2**-100, 2**100], got {step}")
    blocks = -(-size // BLOCK)
    classes = _read_classes(cursor.take(cursor.number()), number, blocks)
    tables = [read_table(cursor) for _ in range(number)]
    members = [np.flatnonzero(classes == index) for index in range(1, number + 1)]
    sizes = [BLOCK * len(of_class) for of_class in members]
    beside = [Levels(cursor, table, count) for table, count in zip(tables, sizes, strict=True)]
    steps = sum(-(-count // max(lanes, 1)) for count in sizes)
    if steps > MAX_STEPS or (lanes * ratio == 0) != (steps == 0) or lanes * ratio > MAX_PATHS:
        raise PayloadError(f"expected {MAX_STEPS} steps at most, got {steps} on {lanes} lanes of {ratio} paths")
    states = load_values(cursor.take(4 * lanes), np.dtype(np.uint32), lanes)
    words = load_values(cursor.take(2 * num_words), np.dtype(np.uint16), num_words)
    cursor.finish()
    decoder = LaneDecoder(states, words, lanes * ratio)
    values = np.zeros((blocks, BLOCK), dtype=np.float32)
    for of_class, levels in zip(members, beside, strict=True):
        if len(of_class):
            values[of_class] = levels.decode(decoder, step).reshape(-1, BLOCK)
    decoder.finish()
    # What pads the last block is whatever was cheapest.
    return values.reshape(-1)[:size]


def _checked_step(values: Floats, step: float) -> float:
    step, largest = float(np.float32(step)), float(max(-values.min(initial=0), values.max(initial=0)))
    if not _SMALLEST_STEP <= step <= _LARGEST_STEP or not largest < step * MAX_LEVEL:
        raise ValueError(f"step must be in [2**-100, 2**100] and over {largest} / {MAX_LEVEL}, got {step}")
    return step


def _classify(values: Floats, step: float) -> tuple[Floats, list[NDArray[np.intp]], Classes]:
    """Return values by block, the last one filled with zeros; the blocks of classes 1, 2, ...; the class of each."""
    padding = -len(values) % BLOCK
    padded = np.append(values, np.zeros(padding, dtype=np.float32)) if padding else values
    blocks = padded.reshape(-1, BLOCK)
    classes = choose_classes(blocks, step, padding)
    members = [np.flatnonzero(classes == index) for index in range(1, int(classes.max(initial=0)) + 1)]
    return blocks, members, classes


def _num_bits(members: list[NDArray[np.intp]], models: list[Model]) -> float:
    return sum(BLOCK * len(of_class) * model.rate for of_class, model in zip(members, models, strict=True))


def _num_lanes(size: int, num_bytes: int) -> int:
    """Return how many lanes to use: each costs about three bytes, and saves steps; at most one a block."""
    if not size:
        return 0
    fewest = -(-size // (MAX_STEPS - 2**8))
    wanted = max(min(size // 3072, num_bytes // 50), fewest, 4)
    return min(wanted, size // BLOCK, MAX_LANES)


def _dump_classes(classes: Classes, number: int) -> bytes:
    """Return the classes as differences modulo their number, coded; nothing if all blocks are in the only class."""
    if not len(classes) or classes.min() == number:
        return b""
    before = np.append(np.uint8(0), classes[:-1]).astype(np.int64)
    return write_stream([((classes - before) % (number + 1)).astype(np.uint8)])


def _read_classes(data: memoryview, number: int, blocks: int) -> NDArray[np.int64]:
    if not len(data):
        return np.full(blocks, number, dtype=np.int64)
    (differences,) = read_stream(data, [Spec(np.dtype(np.uint8), blocks)])
    if differences.max(initial=0) > number:
        raise PayloadError(f"expected differences of classes up to {number}, got {differences.max()}")
    return np.cumsum(differences, dtype=np.int64) % (number + 1)
