"""Which canaries an attacker guesses on, how many, and what the right guesses prove in one run.

The number of guesses is fixed by the claim before the scores are seen. Choosing the best number afterwards, on the same
scores, would find privacy losses in pure chance.
"""

import functools
import math
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedcomp.audit.gaussian_dp import TradeOff, gaussian_trade_off, mu_of_epsilon, trade_off
from fedcomp.privacy.accounting import epsilon
from fedcomp.privacy.events import DpEvent, JsonEvent, event_from_json, event_to_json

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_PLANS = 24
_MOST_EPSILON = 100.0
_FACTOR, _FACTORS = 1.005, 1000
"""The family's noise: powers of this factor, so many up and down: from a 146th to 146 times the claim."""


@dataclass(frozen=True)
class Guesses:
    """How many canaries were guessed on, and how many guesses were right."""

    made: int
    correct: int


def guess(confidence: Floats, held_in: Bools, made: int, rng: np.random.Generator) -> Guesses:
    """Guess on the ``made`` canaries of largest ``|confidence|``: in where it is positive, out where it is negative.

    ``rng`` decides which of equals are guessed on. A confidence of 0 knows nothing, and counts as wrong.
    """
    order = np.lexsort((rng.random(len(confidence)), -np.abs(confidence)))[:made]
    sure = confidence[order]
    return Guesses(made, int(np.count_nonzero((sure != 0) & ((sure > 0) == held_in[order]))))


def planned_guesses(canaries: int, curve: TradeOff, bound: Callable[[Guesses], float]) -> int:
    """Return how many guesses make ``bound`` largest, if the best attack on the claim comes out as on average.

    An attacker who guesses on those he is surest of, half of them in and half out, has a share of right guesses
    ``tpr / (tpr + fpr)`` at the point of the claim's curve where ``tpr + fpr`` is the share that he guesses on. The
    number of right guesses is taken a standard deviation lower.
    """
    together = curve.fpr + curve.tpr

    def promise(made: int) -> float:
        fpr = float(np.interp(made / canaries, together, curve.fpr))
        right = 1 - fpr / (made / canaries)
        return bound(Guesses(made, max(0, int(made * right - math.sqrt(made * right * (1 - right))))))

    places = np.unique(np.geomspace(min(8, canaries), canaries, _PLANS).astype(np.int64))
    return max((int(made) for made in places), key=promise)


def epsilon_by_count(guesses: Guesses, canaries: int, delta: float, alpha: float) -> float:
    """Return the largest epsilon that so many right guesses refute (Steinke, Nasr and Jagielski 2023, theorem 3.1).

    Under (epsilon, delta)-DP the chance of c right guesses or more of r is at most ``beta + 2 m delta max_i [P(B >= c -
    i) - P(B >= c)] / i`` with ``beta = P(B >= c)``, B binomial of r and ``e^epsilon / (1 + e^epsilon)``, i from 1 to c.
    """
    made, correct = guesses.made, guesses.correct

    def refuted(epsilon: float) -> bool:
        tail = stats.binom.sf(correct - 1 - np.arange(correct + 1), made, 1 / (1 + math.exp(-epsilon)))
        growth = (tail[1:] - tail[0]) / np.arange(1, correct + 1)
        return bool(tail[0] + 2 * canaries * delta * growth.max(initial=0.0) < alpha)

    if correct == 0 or not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high) and high < _MOST_EPSILON:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def refutes(guesses: Guesses, canaries: int, curve: TradeOff, alpha: float) -> bool:
    """Return whether so many right guesses have a probability below ``alpha`` under every mechanism of that curve.

    The recursion of Mahloujifar, Melis and Chaudhuri (2024): with c right of c' guesses among m canaries, hits
    ``r = alpha c / m`` and misses ``h = alpha (c' - c) / m`` are the least that the tail weighs. Each count i below c
    must weigh so much that hits stay under the curve of misses: ``h`` grows to ``least_fpr(r)``, and ``r`` by
    ``i / (c' - i)`` of that. All counts weigh ``c' / m``; if they must weigh more, the curve is refuted.
    """
    made, correct = guesses.made, guesses.correct
    if correct == 0:
        return False
    tpr, fpr = curve.tpr.tolist(), curve.fpr.tolist()
    hits, misses = alpha * correct / canaries, alpha * (made - correct) / canaries
    limit = made / canaries
    place = 0
    for count in range(correct - 1, -1, -1):
        place = bisect_left(tpr, hits, lo=place)
        if place == len(tpr):
            return True
        least = 0.0
        if place:
            share = (hits - tpr[place - 1]) / (tpr[place] - tpr[place - 1])
            least = fpr[place - 1] + share * (fpr[place] - fpr[place - 1])
        if least > misses:
            hits += count / (made - count) * (least - misses)
            misses = least
        if hits + misses > limit:
            return True
    return False


@dataclass(frozen=True)
class NoiseFamily:
    """The claimed events with all noise multipliers scaled by one factor, and the epsilon of each at ``delta``."""

    counts: Mapping[DpEvent, int]
    delta: float

    def epsilon_by_curve(self, guesses: Guesses, canaries: int, alpha: float) -> float:
        """Return the epsilon of the least noise in the family whose curve the guesses refute; 0 if they refute none."""
        if not refutes(guesses, canaries, trade_off([]), alpha):  # chance alone explains them
            return 0.0
        claimed, near = epsilon(self._scaled(0), self.delta), 0
        if 0 < claimed < math.inf:  # a Gaussian pair is quick, and says about where to look
            mu = mu_of_epsilon(claimed, self.delta)
            near = _least_power(guesses, canaries, alpha, lambda power: gaussian_trade_off(mu * _FACTOR**-power)) or 0
        power = _least_power(guesses, canaries, alpha, lambda power: trade_off(self._scaled(power)), near)
        return 0.0 if power is None else epsilon(self._scaled(power), self.delta)

    def _scaled(self, power: int) -> list[tuple[DpEvent, int]]:
        factor = _FACTOR**power
        return [(event_from_json(_with_noise(event_to_json(event), factor)), n) for event, n in self.counts.items()]


def planned_for_curve(canaries: int, claim: TradeOff, mu: float, alpha: float) -> int:
    """Return how many guesses are best for ``NoiseFamily.epsilon_by_curve``, were the claim a Gaussian pair of ``mu``.

    Only the plan takes it for one: a wrong number of guesses costs power and nothing else.
    """

    @functools.cache
    def curve(power: int) -> TradeOff:
        return gaussian_trade_off(mu * _FACTOR**-power)

    def bound(guesses: Guesses) -> float:
        power = _least_power(guesses, canaries, alpha, curve)
        return -math.inf if power is None else -power

    return planned_guesses(canaries, claim, bound)


def _least_power(
    guesses: Guesses, canaries: int, alpha: float, curve: Callable[[int], TradeOff], near: int = 0
) -> int | None:
    """Return the least power, more of which is more noise, whose curve the guesses refute; looked for from ``near``."""
    low, high = -_FACTORS - 1, _FACTORS + 1  # what is sought is above low and at most high
    at, step = near, 4
    while high - low > 1:
        if refutes(guesses, canaries, curve(at), alpha):
            high, at = at, at - step
        else:
            low, at = at, at + step
        step *= 2
        if not low < at < high:  # both sides are known, or the end is near: halve from here on
            at = (low + high) // 2
    return high if high <= _FACTORS else None


def _with_noise(tree: JsonEvent, factor: float) -> JsonEvent:
    match tree:
        case {"noise_multiplier": str(noise)}:
            return tree | {"noise_multiplier": (float.fromhex(noise) * factor).hex()}
        case {"event": dict(inner)}:
            return tree | {"event": _with_noise(inner, factor)}
        case _:
            return tree
