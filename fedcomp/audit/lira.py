"""The likelihood ratio attack (LiRA) of Carlini et al., *Membership inference attacks from first principles* (2022)."""

import numpy as np
from numpy.typing import NDArray

from fedcomp.audit.shadow_models import ShadowScores

Floats = NDArray[np.float64]

LIRA_ASSUMPTIONS = (
    "likelihood ratio attack (LiRA) with shadow models, whose owner can train models of the same making on other "
    "records of the same distribution and knows the record that it asks about; scores are treated as independent "
    "draws, though all come from one attacked model. It measures the risk that remains against this attack and "
    "certifies nothing."
)
_OWN_VARIANCE_FROM = 64
_LEAST_VARIANCE = 1e-12


def lira(shadows: ShadowScores, target: Floats, *, offline: bool = False) -> Floats:
    """Return a score for each record ``[n]``: the higher, the likelier the attacked model was trained on it.

    The scores of one record over models that were trained on it are taken as normal, and so are those over models that
    were not; the score is the logarithm of the ratio of both densities at the attacked model's. ``offline`` uses only
    models that were not: how many standard deviations the attacked model's score lies above theirs. It suits whoever
    has to train shadow models before knowing the records.

    Variances are each record's own from 64 models on. Below, so few values do not give one: all records then share the
    mean of theirs (one for either side), as the paper has it.

    Several queries of a record (its mirror image, say, where training mirrored too) are combined by adding up what
    this function returns for each.

    Args:
        shadows: logit-scaled confidences of shadow models.
        target: ``[n]``, of the attacked model.
        offline: leave out the models that were trained on a record.

    Raises:
        ValueError: if ``target`` has not a finite score for each record.
    """
    records = shadows.scores.shape[1]
    if target.shape != (records,) or not np.isfinite(target).all():
        raise ValueError(f"target must be finite scores [{records}], got {list(target.shape)}")
    out_mean, out_variance = _normal(shadows.scores, ~shadows.included)
    if offline:
        return np.asarray((target - out_mean) / np.sqrt(out_variance))
    in_mean, in_variance = _normal(shadows.scores, shadows.included)
    return _log_density(target, in_mean, in_variance) - _log_density(target, out_mean, out_variance)


def _normal(scores: Floats, chosen: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return mean and variance ``[n]`` of each record's scores over the chosen models."""
    count = chosen.sum(axis=0)
    mean = np.where(chosen, scores, 0.0).sum(axis=0) / count
    squares = np.where(chosen, (scores - mean) ** 2, 0.0).sum(axis=0)
    if len(scores) >= _OWN_VARIANCE_FROM:
        variance = squares / (count - 1)
    else:
        variance = np.full(scores.shape[1], squares.sum() / (count - 1).sum())
    return mean, np.maximum(variance, _LEAST_VARIANCE)


def _log_density(value: Floats, mean: Floats, variance: Floats) -> Floats:
    return np.asarray(-0.5 * (np.log(variance) + (value - mean) ** 2 / variance))
