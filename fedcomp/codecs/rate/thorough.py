"""Mode ``max``: the trellis coder at the step that meets a goal, or mode ``fast`` where that is better.

The first byte of a payload says which: 0 for ``fast``, 1 for the trellis. Estimates from a sample find the step and
tell which of the two is better, so that mostly one of them codes all values, and once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.rate.control import Bracket, Goal
from fedcomp.codecs.rate.fast import encode_fast
from fedcomp.codecs.rate.levels import Floats
from fedcomp.codecs.rate.reader import read_draft
from fedcomp.codecs.trellis import decode_trellis
from fedcomp.codecs.trellis.blocks import Blocks, Scales
from fedcomp.codecs.trellis.encoder import expected_size, num_lanes, search
from fedcomp.codecs.trellis.estimate import SHARE, Division, Estimate, Learnt, estimate, guess
from fedcomp.codecs.trellis.model import PRICE_OF_BIT
from fedcomp.codecs.trellis.outlook import Outlook

_FAST, _TRELLIS = b"\0", b"\1"
_FINEST, _COARSEST, _SMALLEST_STEP, _SMALLEST_PEAK = -25.0, 2.0, -100.0, 2.0**-96
_FEWEST, _FEW, _CHUNK = 2**10, 2**17, 2**16
"""Fewer values the trellis never serves better; up to the second both ways are tried."""
_CHANCE, _LEAST_MARGIN, _MOST_MARGIN, _ERROR_MARGIN = 0.0025, 0.0008, 0.015, 0.006
"""What an estimate of the bits of a value is wrong by: so far below a goal is aimed; limits are shares of the goal."""
_FLOOR, _LOW_FLOOR, _LOW_BITS, _PATIENCE, _TRIES, _POOR = 0.9945, 0.985, 0.5, 0.005, 5, 0.965
"""Which share of a goal is enough, and which at a rate of fewer bits a value; after every try less is enough. With less
than the last in the end, mode ``fast`` is tried, too."""
_LEARNINGS, _MOST_LEARNINGS, _STEADY, _FAR, _ESTIMATES, _NEAR = 2, 3, 0.06, 0.3, 4, 0.02
_DOUBT, _DOUBTFUL_BITS = 0.1, 0.1
"""Below such a rate both ways are tried if neither leads by so many decibels; with more classes than one, ``fast`` must
always lead by that: how well it follows them is not known."""


def encode_max(values: Floats, goal: Goal) -> bytes:
    """Return the payload, no longer than the goal's size or with no more than its error; empty if all decodes to 0.

    Args:
        values: float32, 1-D, finite, magnitudes up to 2**100.
        goal: what to meet, from below.
    """
    inner = Goal(goal.size and goal.size - 1, goal.error)
    if (inner.size is not None and inner.size < 1) or goal.allows_zeros(values):
        return b""
    task = _Task.of(values, inner) if len(values) >= _FEWEST else None
    plan = _plan(task) if task else None
    trellis, used = _pursue(task, plan) if task and plan and plan.try_trellis else (b"", 0.0)
    if plan and not plan.try_fast and used >= _POOR:
        return _TRELLIS + trellis
    fast = encode_fast(values, inner, None)
    payloads = [mode + payload for mode, payload in ((_FAST, fast), (_TRELLIS, trellis)) if payload]
    if len(payloads) < 2:
        return payloads[0] if payloads else b""
    return min(payloads, key=lambda payload: len(payload) if goal.size is None else _error(values, payload))


def decode_max(data: memoryview, size: int) -> Floats:
    """Return the ``size`` values of a payload that has a byte or more, from anywhere; raises ``PayloadError``."""
    if data[:1] == _FAST:
        return read_draft(data[1:], size, dither=False)
    if data[:1] != _TRELLIS:
        raise PayloadError(f"expected a payload that starts with 0 or 1, got {data[0]}")
    return decode_trellis(data[1:], size)


@dataclass(frozen=True, eq=False)
class _Task:
    """Values for the trellis, and their goal; ``energies`` are squares of blocks, if the goal is an error."""

    size: int
    blocks: Blocks
    scales: Scales
    energies: NDArray[np.float64] | None
    outlook: Outlook
    goal: Goal
    limits: tuple[float, float]

    @classmethod
    def of(cls, values: Floats, goal: Goal) -> "_Task | None":
        """Return the task, None if there is nothing to code."""
        blocks = Blocks(values)
        scales = blocks.scales()
        peak = float(scales.peaks.max())
        if peak < _SMALLEST_PEAK:
            return None
        finest, coarsest = (max(float(np.log2(peak)) + end, _SMALLEST_STEP) for end in (_FINEST, _COARSEST))
        energies = None if goal.error is None else blocks.energies(np.arange(len(blocks)))
        outlook = Outlook.of(blocks, scales)
        return cls(len(values), blocks, scales, energies, outlook, goal, (finest, coarsest))

    @property
    def margin(self) -> float:
        """Which share of the goal to leave, so that it is rarely missed."""
        if self.goal.size is None:
            return _ERROR_MARGIN
        return min(max(_CHANCE * self.size / (8 * self.goal.size), _LEAST_MARGIN), _MOST_MARGIN)

    @property
    def floor(self) -> float:
        """Which share of the goal is enough at first."""
        is_low = self.goal.size is None or 8 * self.goal.size < _LOW_BITS * self.size
        return _LOW_FLOOR if is_low else _FLOOR

    def inside(self, at: float) -> float:
        """Return the binary logarithm of a step that is within the limits."""
        return min(max(at, self.limits[0]), self.limits[1])

    def division(self, at: float) -> Division:
        """Return the classes of the step with this binary logarithm."""
        return Division.of(self.scales, float(np.float32(2.0**at)))

    def silent_error(self, division: Division) -> float:
        """Return the squared error of blocks that are not coded, if the goal is an error."""
        return 0.0 if self.energies is None else float(self.energies[division.silent].sum())

    def foreseen(self, at: float) -> float:
        """Return how much finer than the goal (see ``Goal.excess``) a step is, before anything is searched."""
        if self.goal.size is not None:
            return self.goal.excess(self.size * self.outlook.bits(at) / 8 + 1, 0.0)
        return self.goal.excess(0.0, self.size * self.outlook.error(at))

    def first(self) -> float:
        """Return a first guess of the step's binary logarithm."""
        low, high = self.limits
        while high - low > _NEAR:
            at = (low + high) / 2
            low, high = (at, high) if self.foreseen(at) > 0 else (low, at)
        return low

    def slope(self, at: float) -> float:
        """Return how fast what is foreseen falls an octave."""
        return min(max((self.foreseen(at - 0.1) - self.foreseen(at + 0.1)) / 0.2, 0.1), 6.0)

    def estimate(self, division: Division, learnt: Learnt, share: int = SHARE) -> tuple[Estimate, float]:
        """Return an estimate, and how much finer it is than what is aimed at."""
        found = estimate(self.blocks, self.scales, division, learnt, share)
        size, error = expected_size(division, found.bits), self.silent_error(division) + found.error
        return found, self.goal.scaled(1 - self.margin).excess(size, error)


@dataclass(frozen=True, eq=False)
class _Plan:
    """Where to search, with which models; how fast size or error change there; how many bits are expected."""

    at: float
    learnt: Learnt
    slope: float
    bits: float
    try_trellis: bool
    try_fast: bool


def _plan(task: _Task) -> _Plan | None:
    """Return the plan, None if there is a step at which the trellis has nothing to code."""
    learning = _learn(task)
    if learning is None:
        return None
    learnt, at = learning
    slope, before, nearest = task.slope(at), (at, 0.0), np.inf
    plan = None
    # With given models size and error are smooth functions of the step.
    for tried in range(_ESTIMATES):
        division = task.division(at)
        if not division.members:
            break
        found, excess = task.estimate(division, learnt.nearest(division.octaves))
        if tried and at != before[0]:
            slope = min(max((before[1] - excess) / (at - before[0]), slope / 3), slope * 3)
        before, following = (at, excess), task.inside(at + excess / slope)
        if abs(excess) < nearest:
            nearest, best = abs(excess), (division, found)
            plan = _Plan(following, learnt, slope, found.bits, True, True)
        if abs(excess) <= _NEAR:
            break
        at = following
    if plan is None or task.size <= _FEW or not task.outlook.is_plain(plan.at):
        return plan
    return _Plan(plan.at, learnt, plan.slope, plan.bits, *_ways(task, *best))


def _learn(task: _Task) -> tuple[Learnt, float] | None:
    """Return models, and the binary logarithm of a step near the goal; None if there is nothing to code at a step."""
    at, learnt = task.first(), None
    for learnings in range(1, _MOST_LEARNINGS + 1):
        division = task.division(at)
        if not division.members:
            return None
        learnt = guess(task.blocks, division) if learnt is None else learnt.nearest(division.octaves)
        found, excess = task.estimate(division, learnt, 2 * SHARE)
        moved = excess / task.slope(at)
        # What has been learnt far away may be wrong for good.
        learnt = found.taught if abs(moved) < _FAR else None
        at = task.inside(at + moved)
        if learnings >= _LEARNINGS and abs(moved) < _STEADY:
            break
    if learnt is None:
        division = task.division(at)
        learnt = guess(task.blocks, division) if division.members else None
    return None if learnt is None else (learnt, at)


def _ways(task: _Task, division: Division, found: Estimate) -> tuple[bool, bool]:
    """Return whether to try the trellis, and whether to try mode ``fast``."""
    error = float(task.blocks.energies(division.silent).sum()) + found.error
    # A lane of the trellis costs three bytes, one of mode fast a byte, and there are fewer of them.
    beside = 24 * num_lanes(division.size, found.bits) - min(found.bits / 250, division.size / 1500)
    lead = (sum(each.lead for each in found.seen) - PRICE_OF_BIT * beside) * division.step**2
    decibels = 10 * float(np.log10(max(1 + lead / error, 1e-3)))
    if found.bits < _DOUBTFUL_BITS * task.size:
        return decibels > -_DOUBT, decibels < _DOUBT
    return decibels > (0 if len(division.members) == 1 else -_DOUBT), decibels <= 0


def _pursue(task: _Task, plan: _Plan) -> tuple[bytes, float]:
    """Return the payload of the trellis, empty if none was found that meets the goal, and the share that it uses."""
    bracket, best, most, proposed = Bracket(*task.limits, task.goal), None, 0.0, plan.at
    slope, before = plan.slope, (plan.at, 0.0)
    for tried in range(_TRIES):
        at = bracket.inside(proposed)
        division = task.division(at)
        if not division.members:
            break
        learnt = plan.learnt.nearest(division.octaves)
        found = search(task.blocks, division, learnt, plan.bits, measure=task.goal.size is None)
        error = task.silent_error(division) + found.error
        used = task.goal.used(found.size, error)
        if task.floor - tried * _PATIENCE <= used <= 1:
            payload = found.dump()
            used = task.goal.used(len(payload), error)
            if used <= 1:
                return payload, used
        elif most < used < 1:
            best, most = found, used
        # The next search needs the memory.
        del found
        if bracket.narrow(at, used):
            break
        excess = float(np.log2(max(used, 2.0**-20) / (1 - task.margin))) * (1 if task.goal.size is not None else -1)
        if tried and at != before[0]:
            slope = min(max((before[1] - excess) / (at - before[0]), plan.slope / 4), plan.slope * 4)
        before, proposed = (at, excess), at + excess / slope
    payload = b"" if best is None else best.dump()
    is_good = best is not None and (task.goal.size is None or len(payload) <= task.goal.size)
    return (payload, most) if is_good else (b"", 0.0)


def _error(values: Floats, payload: bytes) -> float:
    decoded, total = decode_max(memoryview(payload), len(values)), 0.0
    for at in range(0, len(values), _CHUNK):
        off = np.subtract(values[at : at + _CHUNK], decoded[at : at + _CHUNK], dtype=np.float64)
        total += float(np.dot(off, off))
    return total
