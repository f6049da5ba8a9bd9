"""Mode ``max``: the trellis coder at the step that meets a goal, or mode ``fast`` where that is better.

The first byte of a payload says which: 0 for ``fast``, 1 for the trellis.
"""

import numpy as np

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.rate.control import Bracket, Goal, find_root
from fedcomp.codecs.rate.fast import encode_fast
from fedcomp.codecs.rate.levels import Floats
from fedcomp.codecs.rate.reader import read_draft
from fedcomp.codecs.rate.writer import HEADER
from fedcomp.codecs.trellis import decode_trellis, encode_trellis, trellis_bits

_FAST, _TRELLIS = b"\0", b"\1"
_FINEST, _COARSEST, _SMALLEST_STEP = -21.0, 2.0, -100.0
_AIM, _FLOOR, _PATIENCE, _TRIES, _ESTIMATES = 0.994, 0.985, 0.005, 5, 8
_FEWEST, _FEW = 2**10, 2**16
"""Fewer values the trellis never serves better; up to the second an estimate takes as long as encoding does."""
_FINER = -0.9
"""Binary logarithm of the trellis's step over that of mode ``fast`` at about the same rate."""


def encode_max(values: Floats, goal: Goal) -> bytes:
    """Return the payload, no longer than the goal's size or with no more than its error; empty if all decodes to 0.

    Args:
        values: float32, 1-D, finite, magnitudes up to 2**100.
        goal: what to meet, from below.
    """
    inner = Goal(goal.size and goal.size - 1, goal.error)
    if inner.size is not None and inner.size < 1:
        return b""
    fast = encode_fast(values, inner, None)
    if not fast:
        return b""
    _, _, step = HEADER.unpack_from(fast)
    if len(values) < _FEWEST:
        return _FAST + fast
    trellis = _encode_trellis(values, inner, float(np.log2(step)) + _FINER)
    payloads = [_FAST + fast, *([_TRELLIS + trellis] if trellis else [])]
    return min(payloads, key=lambda payload: len(payload) if goal.size is None else _error(values, payload))


def decode_max(data: memoryview, size: int) -> Floats:
    """Return the ``size`` values of a payload that has a byte or more, from anywhere; raises ``PayloadError``."""
    if data[:1] == _FAST:
        return read_draft(data[1:], size, dither=False)
    if data[:1] != _TRELLIS:
        raise PayloadError(f"expected a payload that starts with 0 or 1, got {data[0]}")
    return decode_trellis(data[1:], size)


def _encode_trellis(values: Floats, goal: Goal, start: float) -> bytes:
    """Return the payload of the trellis, empty if none was found that meets the goal."""
    peak = float(np.log2(np.abs(values).max()))
    limits = max(peak + _FINEST, _SMALLEST_STEP), max(peak + _COARSEST, _SMALLEST_STEP)
    proposed: float | None = start
    if goal.size is not None and len(values) > _FEW:
        proposed = _step_of_size(values, goal.size * _AIM, start, limits)
    bracket, best, most, sides = Bracket(*limits, goal), b"", 0.0, set()
    for tried in range(_TRIES):
        at = bracket.inside(proposed)
        payload = encode_trellis(values, float(np.float32(2.0**at)))
        error = 0.0 if goal.error is None else _error(values, _TRELLIS + payload)
        used = goal.used(len(payload), error)
        if most < used <= 1:
            best, most = payload, used
        if _FLOOR - tried * _PATIENCE <= used <= 1 or bracket.narrow(at, used):
            break
        sides.add(used <= 1)
        wrong = float(np.log2(min(max(used / _AIM, 2.0**-6), 2.0**6)))
        # The error goes with the square of the step; the bits of a value fall by one an octave, and faster below one.
        step = wrong * min(0.7 * 8 * len(payload) / len(values), 1.0) if goal.error is None else -wrong / 2
        proposed = None if len(sides) > 1 else at + step
    return best


def _step_of_size(values: Floats, size: float, start: float, limits: tuple[float, float]) -> float:
    """Return the binary logarithm of a step that is estimated to give so many bytes."""

    def excess(log_step: float) -> float:
        return float(np.log2(trellis_bits(values, float(np.float32(2.0**log_step))) * len(values) / 8 / size))

    root = find_root(excess, start, limits, 0.01, Goal(size, None).slope(len(values)), _ESTIMATES)
    return limits[1] if root is None else root


def _error(values: Floats, payload: bytes) -> float:
    decoded = decode_max(memoryview(payload), len(values))
    return float(np.sum(np.square(values.astype(np.float64) - decoded)))
