"""The robust membership inference attack (RMIA) of Zarifzadeh, Liu and Shokri, *Low-cost high-power membership
inference attacks* (2024)."""

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fedcomp.audit.shadow_models import ShadowScores

Floats = NDArray[np.float64]

RMIA_ASSUMPTIONS = (
    "pairwise likelihood ratio attack (RMIA) with reference models, whose owner can train models of the same making, "
    "has records of the same population, and knows the record that it asks about; scores are treated as independent "
    "draws, though all come from one attacked model. It measures the risk that remains against this attack and "
    "certifies nothing."
)


def rmia(
    shadows: ShadowScores,
    target: Floats,
    target_population: Floats,
    *,
    gamma: float = 2.0,
    offline: float | None = None,
) -> Floats:
    """Return a score for each record ``[n]``: the higher, the likelier the attacked model was trained on it.

    With ``r(x)`` the probability that the attacked model gives record ``x``'s class over the mean of what reference
    models give it, the score is the share of population records ``z`` with ``r(x) >= gamma * r(z)``.

    The mean is over models with and without the record. Where only models without it are to be had (``offline``, and
    for the population always) the mean with it is taken as ``a * without + 1 - a``, the paper's linear approximation.
    For one set of population records the score rises with ``r(x)``, so ``gamma`` only decides how coarse it is; records
    that beat equally many others are ranked by ``r(x)``, in steps too small to change any other order.

    Args:
        shadows: logit-scaled confidences of the reference models, ``population`` included.
        target: ``[n]``, logit-scaled confidences of the attacked model.
        target_population: ``[m]``, the same for ``population``.
        gamma: by how much a record's ratio must exceed another's, at least 1.
        offline: ``a`` in [0, 1] to use only models that were not trained on a record; None to use all (and an ``a`` of
            0.5 for the population).

    Raises:
        ValueError: for scores that do not fit, no population, or a value out of range.
    """
    records, others = shadows.scores.shape[1], shadows.population.shape[1]
    _check(target, records, target_population, others, gamma, offline)
    without = _mean(special.expit(shadows.scores), ~shadows.included)
    approximate = 0.5 if offline is None else offline
    if offline is None:
        within = _mean(special.expit(shadows.scores), shadows.included)
    else:
        within = offline * without + 1 - offline
    never = special.expit(shadows.population).mean(axis=0)
    ratio = _log_ratio(target, (within + without) / 2)
    compared = np.sort(_log_ratio(target_population, ((1 + approximate) * never + 1 - approximate) / 2))
    beaten = np.searchsorted(compared, ratio - np.log(gamma), side="right")
    return np.asarray((beaten + special.expit(ratio) / 2) / others)


def _mean(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    return np.asarray(np.where(chosen, values, 0.0).sum(axis=0) / chosen.sum(axis=0))


def _log_ratio(target: Floats, reference: Floats) -> Floats:
    # in logarithms, where a probability of 0 to double precision still has its place
    return np.asarray(special.log_expit(target) - np.log(np.maximum(reference, 1e-300)))


def _check(target: Floats, records: int, population: Floats, others: int, gamma: float, offline: float | None) -> None:
    if not others:
        raise ValueError("shadows must hold scores of population records, got none")
    for name, scores, count in (("target", target, records), ("target_population", population, others)):
        if scores.shape != (count,) or not np.isfinite(scores).all():
            raise ValueError(f"{name} must be finite scores [{count}], got {list(scores.shape)}")
    if not gamma >= 1:
        raise ValueError(f"gamma must be at least 1, got {gamma}")
    if offline is not None and not 0 <= offline <= 1:
        raise ValueError(f"offline must be in [0, 1], got {offline}")
