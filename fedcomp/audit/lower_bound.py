"""A lower bound on epsilon from an attack's hits and false alarms."""

import math

import numpy as np
from numpy.typing import NDArray

from fedcomp.audit.intervals import clopper_pearson

Floats = NDArray[np.float64]

_THRESHOLDS = 400


def epsilon_lower_bound(
    members: Floats, non_members: Floats, delta: float, confidence: float, rng: np.random.Generator
) -> float:
    """Return an epsilon that the scores' release exceeds with the given confidence, or 0 if they prove nothing.

    Under (epsilon, delta) differential privacy every test has ``tpr <= exp(epsilon) * fpr + delta`` (Kairouz, Oh and
    Viswanath 2015). So ``log((tpr - delta) / fpr)`` with the lower Clopper-Pearson bound of the hits and the upper one
    of the false alarms, each at ``(1 - confidence) / 2``, is a lower bound. The test (a threshold, and whether scores
    above or below it accuse) is chosen on one random half of each population, and only judged on the other: choosing
    and judging on the same scores would find an epsilon in pure chance.

    Valid if scores are independent draws, all members' from one distribution and all non-members' from another. Scores
    of one trained model are not quite: the bound then says how much that model leaks, and certifies nothing about the
    algorithm.

    Args:
        members: scores ``[n]``, higher for a likelier member.
        non_members: scores ``[m]``.
        delta: of the claim that the bound is compared with.
        confidence: in (0, 1).
        rng: draws the halves; may be seeded.
    """
    (chosen_in, judged_in), (chosen_out, judged_out) = _halves(members, rng), _halves(non_members, rng)
    alpha = 1 - confidence
    best = (-math.inf, 0.0, 1.0)
    for sign in (1.0, -1.0):
        thresholds = _thresholds(sign * np.concatenate([chosen_in, chosen_out]))
        bounds = _bounds(sign * chosen_in, sign * chosen_out, thresholds, delta, alpha)
        top = int(np.argmax(bounds))
        best = max(best, (float(bounds[top]), float(thresholds[top]), sign))
    _, threshold, sign = best
    judged = _bounds(sign * judged_in, sign * judged_out, np.array([threshold]), delta, alpha)
    return max(0.0, float(judged[0]))


def _bounds(members: Floats, non_members: Floats, thresholds: Floats, delta: float, alpha: float) -> Floats:
    hits, alarms = _above(members, thresholds), _above(non_members, thresholds)
    tpr, _ = clopper_pearson(hits, len(members), alpha)
    _, fpr = clopper_pearson(alarms, len(non_members), alpha)
    return np.log(np.maximum(tpr - delta, 1e-300)) - np.log(fpr)


def _above(scores: Floats, thresholds: Floats) -> NDArray[np.int64]:
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right"), dtype=np.int64)


def _thresholds(scores: Floats) -> Floats:
    """Return at most 400 of the scores, denser towards the top, where false alarms are rare and epsilon shows."""
    ordered = np.unique(scores)[::-1]
    count = len(ordered)
    places = np.concatenate([np.geomspace(1, count, _THRESHOLDS // 2), np.linspace(1, count, _THRESHOLDS // 2)])
    return ordered[np.unique(places.astype(np.int64)) - 1]


def _halves(scores: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    shuffled = rng.permutation(scores)
    return shuffled[: len(scores) // 2], shuffled[len(scores) // 2 :]
