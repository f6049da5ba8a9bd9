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
from fedcomp.codecs.rate.planning import Counts, plan_table
from fedcomp.codecs.rate.sample import COARSEST, survey
from fedcomp.codecs.rate.writer import Draft, write_draft

_SMALLEST_PEAK = 2.0**-96
_AIM, _FLOOR, _TRIES, _DESIGNS = 0.995, 0.986, 9, 3


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
    classes = made.merging.classes[designer.scales(made.step)]
    order = class_order(classes, made.merging.count, len(values), made.block)
    numbers: list[NDArray[Any]] = []
    error = 0.0
    for index in range(made.merging.count):
        peak = float(designer.found.peaks[order.blocks(index) * made.block // COARSEST].max())
        found = np.empty(order.length(index), dtype=np.min_scalar_type(2 * int(peak / made.step) + 4))
        numbers.append(found)
        for blocks, span in order.chunks(index):
            part = gather(values, blocks, made.block)
            shift = None if dither is None else gather(dither, blocks, made.block)
            if shift is None:
                found[span] = numbers_of(part, made.step, made.roundings[index])
            else:
                found[span] = dithered_numbers(part, made.step, shift)
            if measure:
                error += _error(part, found[span], made, shift)
    shifts = made.shifts if dither is None else None
    return Draft(
        made.block, made.step, shifts, seed, classes, numbers, [plan_table(Counts(found)) for found in numbers]
    ), error


def _error(values: Floats, numbers: NDArray[Any], made: Design, dither: Floats | None) -> float:
    if dither is None:
        decoded = Reconstruction(made.step, made.shifts).values(numbers)
    else:
        decoded = (signed_levels(numbers) + dither) * made.step
    return float(np.sum(np.square(values.astype(np.float64) - decoded)))
