"""Membership inference on a released model: can it be told from an example's loss whether it was trained on?"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.audit.intervals import auc, auc_interval, clopper_pearson
from fedcomp.audit.lower_bound import epsilon_lower_bound

Floats = NDArray[np.float64]

ASSUMPTIONS = (
    "loss-threshold attack on one released model; its scores are treated as independent draws, members' from one "
    "distribution and non-members' from another, though all come from one training run. It measures the risk that "
    "remains against this attack and certifies nothing: a stronger attack may find more."
)
_FPRS = (0.001, 0.01)
_ROC_POINTS = 200


@dataclass(frozen=True)
class TprAtFpr:
    """Share of members that are recognised while at most ``fpr`` of non-members are accused, with its interval.

    The interval is Clopper-Pearson's for the threshold found, which itself is not certain: with fewer than about
    ``10 / fpr`` non-members the figure is rough.
    """

    fpr: float
    tpr: float
    low: float
    high: float


@dataclass(frozen=True)
class MembershipReport:
    """What the attack found. ``auc`` 0.5 is a coin; ``roc`` are (fpr, tpr) points, at most about 200, for a plot.

    ``epsilon_lower_bound`` holds with ``confidence``, which is that of every interval here too, under ``assumptions``.
    """

    auc: float
    auc_low: float
    auc_high: float
    tpr_at_fpr: tuple[TprAtFpr, ...]
    roc: tuple[tuple[float, float], ...]
    num_members: int
    num_non_members: int
    epsilon_lower_bound: float
    confidence: float
    assumptions: str


def infer_membership(
    held_in: NDArray[Any],
    held_out: NDArray[Any],
    *,
    delta: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> MembershipReport:
    """Attack by threshold on the loss (Yeom et al., *Privacy risk in machine learning*, 2018) and report.

    Args:
        held_in: losses ``[n]`` of examples that the model was trained on (or distilled from a model that was).
        held_out: losses ``[n]`` of as many others from the same distribution.
        delta: of the privacy claim that the lower bound is to be compared with; 0 is the strictest.
        rng: breaks ties, and draws the halves that the bound's threshold is chosen and judged on; may be seeded.
        confidence: of the intervals and the bound, in (0, 1).

    Raises:
        ValueError: for unequal numbers, fewer than four, NaN, or a value out of range, naming it.
    """
    members, others = -_losses("held_in", held_in), -_losses("held_out", held_out)
    if len(members) != len(others):
        raise ValueError(f"held_in and held_out must be as many, got {len(members)} and {len(others)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    if not 0 <= delta < 1:
        raise ValueError(f"delta must be in [0, 1), got {delta}")
    interval = auc_interval(members, others, 1 - confidence)
    # an attacker breaks ties at random: a confident model has the same loss, 0, for many rows, and an attack that must
    # accuse all of them or none would look harmless for no good reason
    ranks = _ranks(np.concatenate([members, others]), rng)
    return MembershipReport(
        auc=auc(members, others),
        auc_low=interval.low,
        auc_high=interval.high,
        tpr_at_fpr=tuple(_tpr_at(fpr, ranks[: len(members)], ranks[len(members) :], 1 - confidence) for fpr in _FPRS),
        roc=_roc(members, others),
        num_members=len(members),
        num_non_members=len(others),
        epsilon_lower_bound=epsilon_lower_bound(members, others, delta, confidence, rng),
        confidence=confidence,
        assumptions=ASSUMPTIONS,
    )


def _losses(name: str, values: NDArray[Any]) -> Floats:
    losses = np.asarray(values, dtype=np.float64)
    if losses.ndim != 1 or len(losses) < 4:
        raise ValueError(f"{name} must be at least 4 losses [n], got {list(losses.shape)}")
    if np.isnan(losses).any():
        raise ValueError(f"{name} must not hold NaN")
    return losses


def _ranks(scores: Floats, rng: np.random.Generator) -> Floats:
    """Return the place of each score in ascending order, from 0; equal scores are put in a random order."""
    ranks = np.empty(len(scores))
    ranks[np.lexsort((rng.random(len(scores)), scores))] = np.arange(len(scores))
    return ranks


def _tpr_at(fpr: float, members: Floats, others: Floats, alpha: float) -> TprAtFpr:
    allowed = int(fpr * len(others) + 1e-9)
    threshold = np.sort(others)[::-1][allowed]  # accuse above it: at most ``allowed`` others are, ties included
    hits = int((members > threshold).sum())
    low, high = clopper_pearson(np.array([hits]), len(members), alpha)
    return TprAtFpr(fpr, hits / len(members), float(low[0]), float(high[0]))


def _roc(members: Floats, others: Floats) -> tuple[tuple[float, float], ...]:
    thresholds = np.unique(np.concatenate([members, others]))[::-1]
    tpr, fpr = (_share_from(scores, thresholds) for scores in (members, others))
    count = len(thresholds)
    places = np.concatenate([np.geomspace(1, count, _ROC_POINTS // 2), np.linspace(1, count, _ROC_POINTS // 2)])
    rows = np.unique(places.astype(np.int64)) - 1  # denser at the low end, where a plot on log axes needs them
    return ((0.0, 0.0), *((float(fpr[row]), float(tpr[row])) for row in rows))


def _share_from(scores: Floats, thresholds: Floats) -> Floats:
    return np.asarray((len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")) / len(scores))
