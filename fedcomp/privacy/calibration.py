"""Accounting turned around: the noise that a target needs, and what a planned run will have cost after each round."""

import itertools
import math
from collections.abc import Sequence

import dp_accounting as dp
from scipy.optimize import brentq

from fedcomp.privacy.accounting import check_delta, coarse_epsilon, epsilon, least_interval, on_grid
from fedcomp.privacy.events import DpEvent, flatten
from fedcomp.privacy.spent import PrivacySpent

_LARGEST_NOISE = 1e6
_SCHEDULE_POINTS = 5000
_MOST_PRICED = 250
"""Rounds that are priced one by one; of more, every second one, or third: the others have the next one's bound."""


def calibrate_noise_multiplier(target_epsilon: float, delta: float, sampling_probability: float, steps: int) -> float:
    """Return the least noise multiplier, up to rounding, that keeps ``steps`` Poisson batches within the target.

    The epsilon reached is at most ``target_epsilon`` and more than 99 % of it (of a target of 0.01 or more). The result
    is rounded up to four decimals, so that machines whose last bits differ still agree on the plan.

    Raises:
        ValueError: if an argument is out of range, or no noise multiplier below 1e6 reaches the target.
    """
    check_delta(delta)
    if not (math.isfinite(target_epsilon) and target_epsilon > 0):
        raise ValueError(f"target_epsilon must be finite and above 0, got {target_epsilon}")
    if not 0 < sampling_probability <= 1:
        raise ValueError(f"sampling_probability must be in (0, 1], got {sampling_probability}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")

    def spent(log_noise: float) -> float:
        counts = {_step(sampling_probability, math.exp(log_noise)): steps}
        return coarse_epsilon(counts, delta, interval=min(target_epsilon * 5e-4, 0.02))

    def excess(log_noise: float) -> float:
        # The logarithm makes the curve nearly straight; the shift keeps it finite where epsilon is 0.
        return math.log((spent(log_noise) / target_epsilon + 0.1) / 1.1)

    guess = math.log(max(0.5, math.sqrt(steps) * sampling_probability / target_epsilon))
    low, high = guess, guess
    while spent(low) < target_epsilon:
        low -= 0.7
    while spent(high) > target_epsilon:
        high += 0.7
        if high > math.log(_LARGEST_NOISE):
            raise ValueError(
                f"target_epsilon must be reachable with noise below {_LARGEST_NOISE:g}, got {target_epsilon}"
            )
    root = low if low == high else brentq(excess, low, high, xtol=1e-5)
    noise = math.ceil(math.exp(root) * 1e4) / 1e4
    while epsilon([(_step(sampling_probability, noise), steps)], delta) > target_epsilon:
        noise = math.ceil(noise * 1.0001 * 1e4) / 1e4
    return noise


def epsilon_schedule(
    event: DpEvent, rounds: Sequence[int], delta: float, *, unit: str = "example", mode: str = "local"
) -> list[PrivacySpent]:
    """Return what is spent after each of these numbers of rounds, if every round is one ``event``.

    Every epsilon is a valid upper bound; more rounds never have a smaller one, and the largest number of rounds has
    exactly what ``epsilon`` says. (A bound on more rounds is one on fewer rounds too, so a value that the coarser grid
    makes larger than a later one is replaced by that.)

    Raises:
        UnsupportedEvent: for an event that cannot be priced.
        ValueError: if a number of rounds is negative or ``delta`` is out of range.
    """
    if min(rounds, default=0) < 0:
        raise ValueError(f"rounds must not be negative, got {min(rounds)}")
    bounds = _bounds(event, max(rounds, default=0), delta)
    return [PrivacySpent(bounds[number], delta, unit, mode) for number in rounds]


def _bounds(event: DpEvent, rounds: int, delta: float) -> list[float]:
    """Return upper bounds on epsilon after 0, 1, ... ``rounds`` rounds."""
    final = epsilon([(event, rounds)], delta)
    if math.isinf(final) or final == 0:
        return [0.0] + [final] * rounds
    counts = flatten([(event, 1)])
    interval = max(final / _SCHEDULE_POINTS * max(1.0, math.sqrt(rounds / 150)), least_interval(counts))
    stride = math.ceil(rounds / _MOST_PRICED)
    some = on_grid({each: count * stride for each, count in counts.items()}, interval)
    totals = itertools.accumulate(
        itertools.repeat(some, rounds // stride - 1), lambda total, item: total.compose(item), initial=some
    )
    bounds = [0.0] + [math.inf] * rounds
    bounds[stride::stride] = [total.get_epsilon_for_delta(delta) for total in totals]
    bounds[-1] = final
    return list(itertools.accumulate(reversed(bounds), min))[::-1]


def _step(sampling_probability: float, noise_multiplier: float) -> DpEvent:
    return dp.PoissonSampledDpEvent(sampling_probability, dp.GaussianDpEvent(noise_multiplier))
