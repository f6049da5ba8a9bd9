"""Arrays as one coded stream: range-coded with tables of their own in common lanes, or their bytes as they are.

lanes u16 | words u32 | sections | states, u32 each | words, u16 each
section of mode 0:  mode u8 | the array's bytes
section of mode 1:  mode u8 | low bits u8 | group u8 | alphabet u16 | escaped, LEB128 | frequencies, LEB128
                    | index of every escaped group, u16 | low bits of every number
"""

import struct
from collections.abc import Sequence

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor, dump_number
from fedcomp.codecs.entropy.bits import pack_bits, packed_size, unpack_bits
from fedcomp.codecs.entropy.groups import group_symbols, restore_escaped, ungroup_symbols
from fedcomp.codecs.entropy.lanes import Batch, LaneDecoder, encode_lanes
from fedcomp.codecs.entropy.plan import plan_stream
from fedcomp.codecs.entropy.symbols import from_unsigned, to_unsigned
from fedcomp.codecs.entropy.tables import (
    MAX_ALPHABET,
    MAX_COMBINATIONS,
    MAX_GROUP,
    SLOT_BITS,
    dump_frequencies,
    group_table,
    read_frequencies,
)
from fedcomp.codecs.layout import dump_values, load_values, num_bytes
from fedcomp.codecs.stage import Spec

VERBATIM, CODED = 0, 1
"""Modes of a section; 2 is kept for tables that change from block to block."""
MAX_STEPS, MAX_LANES = 8192, 2**16 - 1
"""Most steps of a stream: it bounds the time that a short payload can take to decode."""
_OVERHEAD = 12
_HEADER, _MODE, _CODED = struct.Struct("<HI"), struct.Struct("<B"), struct.Struct("<BBH")


def write_stream(arrays: Sequence[Array]) -> bytes:
    """Return the coded stream of 1-D arrays of at most 32 bits a value."""
    pairs = [_write_section(array) for array in arrays]
    batches = [batch for _, batch in pairs if batch is not None]
    lanes = _num_lanes(batches)
    states, words = encode_lanes(batches, lanes)
    header = _HEADER.pack(lanes, len(words))
    return b"".join([header, *(section for section, _ in pairs), dump_values(states), dump_values(words)])


def read_stream(data: memoryview, specs: Sequence[Spec]) -> list[Array]:
    """Return the arrays of a coded stream.

    Args:
        data: bytes from anywhere.
        specs: dtype and length of every array; nothing is allocated that they do not justify.

    Raises:
        PayloadError: for the first thing that is wrong.
    """
    cursor = Cursor(data)
    lanes, num_words = cursor.unpack(_HEADER)
    sections = [_read_section(cursor, spec) for spec in specs]
    steps = sum(-(-section.groups // max(lanes, 1)) for section in sections if isinstance(section, _Section))
    if steps > MAX_STEPS or (lanes == 0) != (steps == 0):
        raise PayloadError(f"expected up to {MAX_STEPS} steps on one lane or more, got {steps} on {lanes} lanes")
    states = load_values(cursor.take(4 * lanes), np.dtype(np.uint32), lanes)
    decoder = LaneDecoder(states, load_values(cursor.take(2 * num_words), np.dtype(np.uint16), num_words))
    cursor.finish()
    arrays = [section.decode(decoder) if isinstance(section, _Section) else section for section in sections]
    decoder.finish()
    return arrays


class _Section:
    """A section of mode 1, read and checked but for what the lanes hold."""

    def __init__(self, cursor: Cursor, spec: Spec) -> None:
        self.dtype, self.length = spec.dtype, spec.length or 0
        self.low_bits, group, alphabet = cursor.unpack(_CODED)
        if not 1 <= alphabet <= MAX_ALPHABET or not 1 <= group <= MAX_GROUP:
            raise PayloadError(f"a coded stream has an alphabet of {alphabet} in groups of {group}, over the limits")
        if group > 1 and alphabet**group > MAX_COMBINATIONS:
            raise PayloadError(f"expected at most {MAX_COMBINATIONS} groups, got {alphabet}**{group}")
        if self.low_bits > 31 or (alphabet - 1) << self.low_bits >= 2**32:
            raise PayloadError(f"a coded stream has {self.low_bits} low bits under an alphabet of {alphabet}")
        self.groups = -(-self.length // group)
        num_escaped = cursor.number()
        self.table = group_table(read_frequencies(cursor, alphabet), group)
        self.escaped = load_values(cursor.take(2 * num_escaped), np.dtype(np.uint16), num_escaped)
        self.low = cursor.take(packed_size(self.low_bits, self.length))

    def decode(self, decoder: LaneDecoder) -> Array:
        """Return the array, taking the groups from the lanes."""
        indices = decoder.read(self.table.frequencies, self.groups)
        restore_escaped(indices, self.escaped, self.table)
        high = ungroup_symbols(indices, self.table, self.length).astype(np.uint32)
        if self.low_bits:
            high = (high << np.uint32(self.low_bits)) | unpack_bits(self.low, self.low_bits, self.length)
        return from_unsigned(high, self.dtype)


def _read_section(cursor: Cursor, spec: Spec) -> Array | _Section:
    (mode,) = cursor.unpack(_MODE)
    if mode == CODED:
        return _Section(cursor, spec)
    if mode != VERBATIM:
        raise PayloadError(f"expected a section of mode 0 or 1, got {mode}")
    return load_values(cursor.take(num_bytes(spec.dtype, spec.length or 0)), spec.dtype, spec.length or 0)


def _write_section(array: Array) -> tuple[bytes, Batch | None]:
    """Return what travels beside the lanes, and what goes through them if that is cheaper than the bytes."""
    numbers = to_unsigned(array)
    plan = plan_stream(numbers) if len(numbers) else None
    if plan is None or plan.bits / 8 + _OVERHEAD >= num_bytes(array.dtype, array.size):
        return _MODE.pack(VERBATIM) + bytes(dump_values(array)), None
    indices, escaped = group_symbols(numbers >> np.uint32(plan.low_bits), plan.table)
    parts = [
        _MODE.pack(CODED),
        _CODED.pack(plan.low_bits, plan.table.group, plan.table.alphabet),
        dump_number(len(escaped)),
        dump_frequencies(plan.frequencies),
        dump_values(escaped),
        pack_bits(numbers, plan.low_bits),
    ]
    return b"".join(parts), Batch(indices, plan.table.frequencies)


def _num_lanes(batches: Sequence[Batch]) -> int:
    """Return how many lanes to use: each costs three bytes, and saves steps.

    At most 1 % of the words' bytes, or 3 % (and four lanes) where there would be more than 512 steps; but as many as
    ``MAX_STEPS`` asks for.
    """
    if not batches:
        return 0
    groups = sum(len(batch.indices) for batch in batches)
    size = int(sum(_num_bits(batch) for batch in batches) / 8)
    fewest = -(-groups // (MAX_STEPS - len(batches)))
    return min(max(size // 400, min(groups // 512, max(size // 100, 4)), fewest, 1), MAX_LANES)


def _num_bits(batch: Batch) -> float:
    counts = np.bincount(batch.indices, minlength=len(batch.frequencies))
    used = counts > 0
    return float(np.sum(counts[used] * (SLOT_BITS - np.log2(batch.frequencies[used]))))
