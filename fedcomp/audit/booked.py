"""L0 on the books: is the event that a round is charged as the one that its parts add up to?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.replay import FixedNoise
from fedcomp.privacy import AdaptiveClip, DpEvent, event_to_json
from fedcomp.privacy.events import flatten, unhex
from fedcomp.rng import stream

_HOW = "computed again from the declared terms, by code of the auditor's own; no chance of error"
_CHANCE = 1e-9
_MOST_DRAWS = 100_000


def check_booked(event: DpEvent, parts: Sequence[float], rate: float, releases: int) -> Finding:
    """Return whether ``event`` is ``releases`` Gaussian releases of all ``parts``, sampled at ``rate``.

    Args:
        event: what a round is charged as.
        parts: of each thing that one release adds noise to, its standard deviation over how far one unit moves it.
        rate: chance of a unit to take part; 1 where no amplification is claimed.
        releases: in a round.
    """
    together = sum(part**-2 for part in parts) ** -0.5
    noise, sampled, count = _booked(event)
    right = noise <= together * (1 + 1e-9) and math.isclose(sampled, rate, rel_tol=1e-12) and count == releases
    measured = (
        f"booked: {count} x noise {noise:.6g} at rate {sampled:g}; what is released: {releases} x {together:.6g} at "
        f"{rate:g}"
    )
    return judged("L0 replay", "a round is charged as what it releases, every part of it", right, measured, _HOW)


def check_secret_cohorts(draw: Callable[[int], NDArray[np.int64]], rate: float, population: int) -> Finding:
    """Return whether a round's cohort comes out otherwise when it is drawn again, as a secret one does.

    ``draw(round_number)`` is what the server calls.
    """
    same = (rate**2 + (1 - rate) ** 2) ** population
    draws = 1 if same == 0 else min(max(1, math.ceil(math.log(_CHANCE) / math.log(same))), _MOST_DRAWS)
    repeated = all(np.array_equal(draw(number), draw(number)) for number in range(1, draws + 1))
    measured = f"{draws} rounds drawn twice: {'all the same' if repeated else 'not the same'}"
    how = f"a sound run fails with probability {_CHANCE:g}"
    return judged("L0 replay", "nobody can draw a round's cohort again", not repeated, measured, how)


def check_adaptive(clip: AdaptiveClip) -> Finding:
    """Return whether the bound comes to the quantile that it is to follow, from far below and from far above."""
    norms = np.exp(stream(0, "audit", "norms").standard_normal(1000))
    rounds = math.ceil(20 / (clip.rate * min(clip.quantile, 1 - clip.quantile)))
    target, ends = float(np.quantile(norms, clip.quantile)), []
    for start in (0.01 * target, 100 * target):
        moving = replace(clip, clipping_norm=start, expected=len(norms))
        for _ in range(rounds):
            within = int(np.count_nonzero(norms <= moving.clipping_norm))
            moving = replace(moving, clipping_norm=moving.following(within, len(norms) - within, FixedNoise(0.0)))
        ends.append(moving.clipping_norm / target)
    right = all(0.8 <= end <= 1.25 for end in ends)
    measured = f"after {rounds} rounds from a hundredth and from a hundredfold: {ends[0]:.3f} and {ends[1]:.3f} of it"
    return judged("L0 replay", "the moving bound comes to its quantile", right, measured, _HOW)


def _booked(event: DpEvent) -> tuple[float, float, int]:
    """Return noise multiplier, sampling probability and count of an event of one kind; noise 0 for any other."""
    if len(counts := flatten([(event, 1)])) != 1:
        return math.inf, 1.0, 0
    ((elementary, count),) = counts.items()
    tree, rate = event_to_json(elementary), 1.0
    if tree["kind"] == "poisson_sampled":
        tree, rate = tree["event"], unhex(tree["sampling_probability"])
    noise = unhex(tree["noise_multiplier"]) if tree["kind"] == "gaussian" else math.inf
    return noise, rate, count
