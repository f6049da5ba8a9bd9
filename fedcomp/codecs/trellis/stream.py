"""The payload of mode ``max``: header, classes of blocks, a table a class, what goes beside the lanes, the lanes.

step f32 | lanes u16 | paths a lane u16 | words u32 | classes u8 | size of the next, LEB128 | classes of blocks
| tables | of every class: number of extras, LEB128, extras, low bits | states, u32 each | words, u16 each
"""

import struct

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.stream import read_stream, write_stream
from fedcomp.codecs.layout import load_values
from fedcomp.codecs.stage import Spec
from fedcomp.codecs.trellis.lanes import LaneDecoder
from fedcomp.codecs.trellis.levels import Levels
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.table import read_table

MAX_STEPS, MAX_LANES, MAX_PATHS = 2**14, 2**16 - 1, 2**16
SMALLEST_STEP, LARGEST_STEP = 2.0**-100, 2.0**100
HEADER = struct.Struct("<fHHIB")
Floats = NDArray[np.float32]


def decode_trellis(data: memoryview, size: int) -> Floats:
    """Return the ``size`` values of a payload.

    Args:
        data: bytes from anywhere.
        size: how many values the caller expects; nothing is allocated that this does not justify.

    Raises:
        PayloadError: for the first thing that is wrong.
    """
    cursor = Cursor(data)
    step, lanes, ratio, num_words, number = cursor.unpack(HEADER)
    if not SMALLEST_STEP <= step <= LARGEST_STEP:
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


def dump_classes(classes: NDArray[np.uint8], number: int) -> bytes:
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
