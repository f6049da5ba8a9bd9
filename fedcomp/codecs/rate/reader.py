"""Reads the payload of mode ``fast``; everything in it may be hostile."""

import numpy as np

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.lanes import LaneDecoder
from fedcomp.codecs.layout import dump_values, load_values
from fedcomp.codecs.rate.layout import ClassOrder, class_order, gather, num_blocks, scatter
from fedcomp.codecs.rate.levels import Floats, Reconstruction, dither_values, signed_levels
from fedcomp.codecs.rate.parts import Part
from fedcomp.codecs.rate.sequence import read_sequence
from fedcomp.codecs.rate.tables import ZEROS, LevelTable, read_table
from fedcomp.codecs.rate.thinning import MAX_THINNING, SAME_TABLE, ZEROS_ONLY, Drawn, draw, num_coded
from fedcomp.codecs.rate.writer import DIFFERENCES, HEADER, MAX_STEPS, SEED, SHIFTS, SHORTEST_BLOCK_BITS

_LONGEST_BLOCK_BITS, _SMALLEST_STEP = 10, 2.0**-118
_CHUNK = 2**16


def read_draft(data: memoryview, size: int, *, dither: bool) -> Floats:
    """Return the ``size`` values of a payload.

    Args:
        data: bytes from anywhere, not empty.
        size: how many values there are; nothing is allocated that it does not justify.
        dither: whether the levels were dithered.

    Raises:
        PayloadError: for the first thing that is wrong.
    """
    if not size:
        raise PayloadError(f"expected no bytes for no values, got {len(data)}")
    cursor = Cursor(data)
    head, last_class, step = cursor.unpack(HEADER)
    block_bits = (head & (DIFFERENCES - 1)) + SHORTEST_BLOCK_BITS
    if head >= 2 * DIFFERENCES or block_bits > _LONGEST_BLOCK_BITS:
        raise PayloadError(f"expected blocks of 32 to 1024 values, got a head of {head}")
    if not (_SMALLEST_STEP <= step < np.inf):
        raise PayloadError(f"expected a step of 2**-118 at least, got {step}")
    scale = np.float32(step)
    fields = cursor.unpack(SEED if dither else SHIFTS)
    sequence = read_sequence(cursor, last_class + 1, differ=bool(head & DIFFERENCES)) if last_class else None
    thinnings = [0] * (last_class + 1)
    if dither:
        thinnings, tables = _read_kinds(cursor, last_class + 1)
    else:
        tables = [read_table(cursor) for _ in thinnings]
    lanes = cursor.number()
    states = load_values(cursor.take(4 * lanes), np.dtype(np.uint32), lanes)
    rest = cursor.take(cursor.left)
    words = load_values(rest[: len(rest) & ~1], np.dtype(np.uint16), len(rest) // 2)
    decoder = LaneDecoder(states, words)

    blocks = num_blocks(size, 1 << block_bits)
    classes = np.zeros(blocks, dtype=np.uint8)
    if sequence:
        _check_steps(decoder, [blocks])
        classes = sequence.classes(decoder.read(sequence.slots, blocks))
    order = class_order(classes, len(tables), size, 1 << block_bits)
    parts = _read_parts(decoder, tables, thinnings, order, blocks if sequence else 0)
    used, carried = decoder.end()
    beside = Cursor(memoryview(bytes(dump_values(carried)) + bytes(rest[2 * used :])))
    if dither:
        values = _dithered(parts, thinnings, order, beside, scale, fields[0])
    else:
        values = _plain(parts, order, beside, Reconstruction(scale, (fields[0], fields[1], fields[2])), size)
    left = bytes(beside.take(beside.left))
    if left and (any(left) or len(rest) > 2 * used):
        raise PayloadError(f"expected nothing beside the lanes but zeros that they carry, got {len(left)} more bytes")
    return values


def _plain(
    parts: list[Part | None], order: ClassOrder, beside: Cursor, reconstruction: Reconstruction, size: int
) -> Floats:
    values = np.zeros(size, dtype=np.float32)
    for index, part in enumerate(parts):
        if part is not None:
            part.take_beside(beside, reconstruction.values)
            for blocks, span in order.chunks(index, part.multiple):
                scatter(part.floats(span), values, blocks, order.block)
    return values


def _dithered(
    parts: list[Part | None], thinnings: list[int], order: ClassOrder, beside: Cursor, step: np.float32, seed: int
) -> Floats:
    """Add the levels to the dither, in place; leave zeros where nothing is coded; and multiply by the step."""
    values = dither_values(seed, order.size)
    for index, (part, thinning) in enumerate(zip(parts, thinnings, strict=True)):
        if part is not None:
            part.take_beside(beside, lambda numbers: signed_levels(numbers).astype(np.float32))
        if thinning == ZEROS_ONLY:
            _clear(values, order, index)
        elif thinning:
            _put_drawn(part, draw(order, index, thinning, seed), values)
        elif part is not None:
            for blocks, span in order.chunks(index, part.multiple):
                scatter(part.floats(span) + gather(values, blocks, order.block), values, blocks, order.block)
    return np.multiply(values, step, values)


def _put_drawn(part: Part | None, drawn: Drawn, values: Floats) -> None:
    """Add levels to the dither of what is drawn of a kind, and clear the rest of it."""
    count = len(drawn.offsets)
    multiple = part.multiple if part is not None else 1
    step = max(_CHUNK // multiple, 1) * multiple
    spans = [slice(at, min(at + step, count)) for at in range(0, count, step)]
    found = [values[drawn.places(span)] for span in spans]
    if part is not None:
        found = [shift + part.floats(span)[: len(shift)] for shift, span in zip(found, spans, strict=True)]
    _clear(values, drawn.order, drawn.index)
    for span, kept in zip(spans, found, strict=True):
        values[drawn.places(span)] = kept


def _clear(values: Floats, order: ClassOrder, index: int) -> None:
    for blocks, span in order.chunks(index):
        scatter(np.zeros(span.stop - span.start, dtype=np.float32), values, blocks, order.block)


def _read_kinds(cursor: Cursor, count: int) -> tuple[list[int], list[LevelTable]]:
    """Return thinnings and tables; a kind has a table of its own or that of the last one that is not of zeros alone."""
    thinnings: list[int] = []
    tables: list[LevelTable] = []
    last: LevelTable | None = None
    for _ in range(count):
        head = cursor.take(1)[0]
        thinning = head & (SAME_TABLE - 1)
        if head >= 2 * SAME_TABLE or (thinning > MAX_THINNING and head != ZEROS_ONLY):
            raise PayloadError(f"expected a thinning up to {MAX_THINNING}, got {head}")
        if head & SAME_TABLE and last is None:
            raise PayloadError("expected a table for the first kind, got a reference to one before it")
        if thinning != ZEROS_ONLY and not head & SAME_TABLE:
            last = read_table(cursor)
        thinnings.append(thinning)
        tables.append(ZEROS if thinning == ZEROS_ONLY or last is None else last)
    return thinnings, tables


def _read_parts(
    decoder: LaneDecoder, tables: list[LevelTable], thinnings: list[int], order: ClassOrder, before: int
) -> list[Part | None]:
    """Return what the lanes hold for every class, None for one of zeros alone."""
    lengths = [order.length(index) for index in range(len(tables))]
    if min(lengths) == 0:
        raise PayloadError("expected every class to have a block, got one that has none")
    lengths = [num_coded(length, thinning) for length, thinning in zip(lengths, thinnings, strict=True)]
    groups = [-(-length // table.group) if table.top else 0 for table, length in zip(tables, lengths, strict=True)]
    _check_steps(decoder, [before, *groups])
    parts: list[Part | None] = []
    for table, length, count in zip(tables, lengths, groups, strict=True):
        parts.append(None)
        if table.top:
            slots = table.slots()
            parts[-1] = Part(table, slots, decoder.read(slots.frequencies, count), length)
    return parts


def _check_steps(decoder: LaneDecoder, groups: list[int]) -> None:
    lanes = decoder.lanes
    steps = sum(-(-count // max(lanes, 1)) for count in groups)
    if steps > MAX_STEPS or (lanes == 0) != (steps == 0):
        raise PayloadError(f"expected up to {MAX_STEPS} steps on one lane or more, got {steps} on {lanes} lanes")
