"""Mode ``fast``: dead-zone or dithered quantization with one step, and an entropy coder that follows the blocks."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.rate.control import Bracket, Goal, choose_designer, find_design
from fedcomp.codecs.rate.design import Design, Designer
from fedcomp.codecs.rate.layout import class_order, gather
from fedcomp.codecs.rate.levels import (
    Floats,
    Reconstruction,
    dither_values,
    dithered_numbers,
    numbers_of,
    signed_levels,
)
from fedcomp.codecs.rate.planning import NO_TABLE, Counts, plan_table
from fedcomp.codecs.rate.sample import COARSEST, survey
from fedcomp.codecs.rate.thinning import ZEROS_ONLY, Drawn, Kind, draw, num_coded
from fedcomp.codecs.rate.writer import Draft, write_draft

_SMALLEST_PEAK = 2.0**-96
_AIM, _FLOOR, _TRIES, _DESIGNS = 0.995, 0.986, 9, 3
_CHUNK = 2**16


def encode_fast(values: Floats, goal: Goal, seed: int | None) -> bytes:
    """Return the payload, no longer than the goal's size or with no more than its error; empty if all decodes to 0.

    Args:
        values: float32, 1-D, finite, magnitudes up to 2**100.
        goal: what to meet, from below.
        seed: of the dither, or None for a dead zone.
    """
    found = survey(values) if len(values) else None
    if found is None or found.peak < _SMALLEST_PEAK or (seed is None and goal.allows_zeros(values)):
        return b""
    designer, start = choose_designer(found, goal, dither=seed is not None)
    dither = None if seed is None else dither_values(seed, len(values))
    bracket, aim, best, most = Bracket(*designer.limits, goal), goal.scaled(_AIM), b"", 0.0
    for left in reversed(range(_TRIES)):
        # Where size or error jump, no model of them finds the place: after a few designs the bracket is closed alone.
        made = find_design(designer, aim, start) if left >= _TRIES - _DESIGNS else None
        start = bracket.inside(None if made is None else float(np.log2(made.step)))
        if made is None or float(np.log2(made.step)) != start:
            made = designer.design(np.float32(2.0**start))
        draft, error = _draft(values, designer, made, dither, seed or 0, measure=goal.error is not None)
        used = goal.used(draft.predicted_size(), error)
        # What is far from the goal is not worth writing, unless there is nothing better.
        if used <= 1 and (used >= _FLOOR or not left or not most):
            payload = write_draft(draft)
            used = goal.used(len(payload), error)
            if most < used <= 1:
                best, most = payload, used
        if _FLOOR <= used <= 1 or bracket.narrow(start, used):
            break
        aim = aim.scaled(_AIM / min(max(used, 0.1), 10.0))
    return best


def _draft(
    values: Floats, designer: Designer, made: Design, dither: Floats | None, seed: int, *, measure: bool
) -> tuple[Draft, float]:
    """Return the levels of all values as a design has it, and their squared error if that is to be measured."""
    kinds = made.kinds.kinds
    order = class_order(made.kinds.of_block, len(kinds), len(values), made.block)
    numbers: list[NDArray[Any]] = []
    error = 0.0
    for index, kind in enumerate(kinds):
        peak = float(designer.found.peaks[order.blocks(index) * made.block // COARSEST].max())
        found = np.empty(num_coded(order.length(index), kind.thinning), dtype=_dtype(peak, made, kind))
        numbers.append(found)
        if kind.thinning == ZEROS_ONLY:
            continue
        if kind.thinning and dither is not None:
            drawn = draw(order, index, kind.thinning, seed)
            error += _thinned(values, drawn, made.step, dither, found, measure=measure)
            continue
        for blocks, span in order.chunks(index):
            part = gather(values, blocks, made.block)
            shift = None if dither is None else gather(dither, blocks, made.block)
            if shift is None:
                found[span] = numbers_of(part, made.step, made.roundings[kind.table])
            else:
                found[span] = dithered_numbers(part, made.step, shift)
            if measure:
                error += _error(part, found[span], made, shift)
    shifts = made.shifts if dither is None else None
    tables = [_joined(numbers, kinds, table) for table in range(made.kinds.num_tables)]
    plans = [plan_table(Counts(found)) if len(found) else NO_TABLE for found in tables]
    return Draft(made.block, made.step, shifts, seed, made.kinds, numbers, plans), error


def _thinned(
    values: Floats, drawn: Drawn, step: np.float32, dither: Floats, found: NDArray[Any], *, measure: bool
) -> float:
    """Put the numbers of the drawn values into ``found``, and return the squared error if that is to be measured."""
    error, factor = 0.0, np.float32(2**drawn.thinning)
    if measure:
        for blocks, _ in drawn.order.chunks(drawn.index):
            error += float(np.sum(np.square(gather(values, blocks, drawn.order.block), dtype=np.float64)))
    for at in range(0, len(found), _CHUNK):
        places = drawn.places(slice(at, min(at + _CHUNK, len(found))))
        part, shift = values[places], dither[places]
        numbers = dithered_numbers(part * factor, step, shift)
        # A last draw past the end stands for nothing, and costs the least as a zero.
        found[at : at + _CHUNK] = np.pad(numbers, (0, min(_CHUNK, len(found) - at) - len(numbers)))
        if measure:
            off = part.astype(np.float64) - (signed_levels(numbers) + shift) * step
            error += float(np.sum(np.square(off))) - float(np.sum(np.square(part, dtype=np.float64)))
    return error


def _dtype(peak: float, made: Design, kind: Kind) -> np.dtype[Any]:
    return np.min_scalar_type(2 * int(peak / made.step * 2 ** (kind.thinning % ZEROS_ONLY)) + 4)


def _joined(numbers: list[NDArray[Any]], kinds: tuple[Kind, ...], table: int) -> NDArray[Any]:
    """Return the numbers of all kinds with a table."""
    found = [part for part, kind in zip(numbers, kinds, strict=True) if kind.table == table and len(part)]
    return found[0] if len(found) == 1 else np.concatenate(found or [np.empty(0, dtype=np.uint8)])


def _error(values: Floats, numbers: NDArray[Any], made: Design, dither: Floats | None) -> float:
    if dither is None:
        decoded = Reconstruction(made.step, made.shifts).values(numbers)
    else:
        decoded = (signed_levels(numbers) + dither) * made.step
    return float(np.sum(np.square(values.astype(np.float64) - decoded)))
