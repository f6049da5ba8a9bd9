"""Rate control: the step whose payload has the bytes, or the error, that was asked for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.rate.classes import scales_of
from fedcomp.codecs.rate.design import Design, Designer, step_limits
from fedcomp.codecs.rate.levels import Floats
from fedcomp.codecs.rate.model import TRADE_OFF, size_if_laplace
from fedcomp.codecs.rate.sample import FINEST, Survey

_BLOCKS = (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Goal:
    """Bytes, or a squared error of all values together; the other is None."""

    size: float | None
    error: float | None

    def excess(self, size: float, error: float) -> float:
        """Return the binary logarithm of how much finer than the goal something is; it falls as the step grows."""
        if self.size is not None:
            return float(np.log2(size / self.size))
        return float(np.log2((self.error or 0.0) / error)) if error else 64.0

    def allows_zeros(self, values: Floats) -> bool:
        """Return whether nothing but zeros is good enough."""
        norm = float(np.sum(np.square(values, dtype=np.float64))) if self.error is not None else 0.0
        return self.error is not None and norm <= self.error

    def slope(self, num_values: int) -> float:
        """Return about how fast ``excess`` falls an octave of the step: by a bit a value, and faster below one."""
        return 2.0 if self.size is None else min(max(1.44 * num_values / (8 * self.size), 0.1), 4.0)

    def used(self, size: float, error: float) -> float:
        """Return which share of the goal's bytes or error something takes."""
        return size / self.size if self.size is not None else error / (self.error or 1.0)

    def scaled(self, factor: float) -> "Goal":
        """Return a goal of so many times the bytes, or the error."""
        return Goal(self.size and self.size * factor, self.error and self.error * factor)


class Bracket:
    """Where the step must be, as its binary logarithm: between one that was too fine and one that was too coarse."""

    def __init__(self, finest: float, coarsest: float, goal: Goal) -> None:
        """Start from the limits of the step."""
        self._finest, self._goal, self._stride = finest, goal, 0.03
        self._fine: tuple[float, float | None] = (finest, None)
        self._coarse: tuple[float, float | None] = (coarsest, None)

    def inside(self, proposed: float | None) -> float:
        """Return a proposal that is inside, else a place between what was tried, or ever farther from it."""
        (fine, over), (coarse, under) = self._fine, self._coarse
        if proposed is not None and (fine < proposed < coarse or proposed == self._finest == fine):
            return proposed
        if over is not None and under is not None:
            return fine + (coarse - fine) * min(max(over / (over - under), 0.1), 0.9)
        self._stride *= 4
        if under is not None:
            return max(coarse - self._stride, fine)
        return min(fine + self._stride, coarse) if over is not None else (fine + coarse) / 2

    def narrow(self, at: float, used: float) -> bool:
        """Take in which share of the goal a step used, and return whether there is nothing left to try."""
        wrong = float(np.log2(max(used, 2.0**-20)))
        wrong = wrong if self._goal.size is not None else -wrong
        if wrong > 0 or (wrong == 0 and self._goal.size is None):
            self._fine = (at, wrong)
        else:
            self._coarse = (at, wrong)
        return self._coarse[0] - self._fine[0] < 1e-3


def choose_designer(found: Survey, goal: Goal, *, dither: bool) -> tuple[Designer, float]:
    """Return the designer with the best length of blocks, and a first guess of the step's binary logarithm."""
    guess = _guess(found, goal, step_limits(found, dither=dither))
    if found.size > len(found.rows):
        finest = scales_of(found.log_means(FINEST), 2.0**guess)
        sizes = [
            size_if_laplace(scales_of(found.log_means(block), 2.0**guess), finest, found.size) for block in _BLOCKS
        ]
        return Designer(found, _BLOCKS[int(np.argmin(sizes))], dither=dither), guess
    designers = [Designer(found, block, dither=dither) for block in _BLOCKS if block < 2 * found.size or block == 64]
    designs = [designer.design(np.float32(2.0**guess)) for designer in designers]
    costs = [made.size * 8 + made.error / (TRADE_OFF * float(made.step) ** 2) for made in designs]
    return designers[int(np.argmin(costs))], guess


def find_design(designer: Designer, goal: Goal, start: float, tolerance: float = 0.005) -> Design | None:
    """Return the design that meets the goal as nearly as the sample tells, None if even the coarsest step is too fine.

    Args:
        designer: what makes designs.
        goal: what to meet.
        start: the binary logarithm of the step to begin with.
        tolerance: of the goal's binary logarithm.
    """
    found: dict[float, Design] = {}

    def excess(log_step: float) -> float:
        found[log_step] = designer.design(np.float32(2.0**log_step))
        return goal.excess(found[log_step].size, found[log_step].error)

    root = find_root(excess, start, designer.limits, tolerance, goal.slope(designer.found.size))
    return None if root is None else found[root]


def find_root(
    excess: Callable[[float], float],
    start: float,
    limits: tuple[float, float],
    tolerance: float,
    slope: float,
    tries: int = 24,
) -> float | None:
    """Return where a falling function is nearly 0: the lower limit if it is negative there, None if never negative.

    False position, with each end's value halved when the other end moves twice (the Illinois rule: Dowell and Jarratt
    1971).

    Args:
        excess: the function; it may have steps and some noise.
        start: where to begin.
        limits: where to stay.
        tolerance: what is near enough to 0.
        slope: about how fast it falls.
        tries: how often the function may be called; after that the best place is returned.
    """
    (low, high), at = limits, min(max(start, limits[0]), limits[1])
    over = under = moved = 0.0
    left: float | None = None
    right: float | None = None
    best, nearest = at, np.inf
    for _ in range(tries):
        value = excess(at)
        if abs(value) < nearest:
            best, nearest = at, abs(value)
        if nearest <= tolerance or (value <= 0 and at <= low):
            return at
        if value > 0:
            if at >= high:
                return None
            left, over, under = at, min(value, 2.0), under / 2 if moved > 0 else under
        else:
            right, under, over = at, max(value, -2.0), over / 2 if moved < 0 else over
        moved = value
        if left is None or right is None:
            at = min(max(at + min(max(value / slope, -2.0), 2.0) * 1.1 + (0.01 if value > 0 else -0.01), low), high)
        elif right - left < 1e-5:
            return right
        else:
            at = left + (right - left) * min(max(over / (over - under), 0.02), 0.98)
    return best


def _guess(found: Survey, goal: Goal, limits: tuple[float, float]) -> float:
    """Return the step if every block of 256 values were Laplace-distributed."""
    low, high = limits
    log_means = found.log_means(256)
    log_means = np.maximum(log_means[np.isfinite(log_means)].astype(np.float64), high - 60)
    finest = np.floor(8 * log_means.min())
    numbers = np.bincount((8 * log_means - finest).astype(np.intp))
    centres = (finest + 0.5 + np.arange(len(numbers))) / 8
    for _ in range(20):
        middle = (low + high) / 2
        means = 2.0 ** np.clip(centres - middle, -30, 40)
        if goal.size is not None:
            passed, stay = np.exp(-0.6 / means), np.exp(-1 / means)
            bits = _entropy(passed) + passed * (1 + _entropy(stay) / np.maximum(1 - stay, 1e-12))
            too_fine = 32 * float(numbers @ bits) > goal.size
        else:
            error = 256 * 4.0**middle * float(numbers @ np.minimum(2 * means**2, 0.1))
            too_fine = error < (goal.error or 0.0)
        low, high = (middle, high) if too_fine else (low, middle)
    return (low + high) / 2


def _entropy(share: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(share, 1e-12, 1 - 1e-12)
    return np.asarray(-inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside))
