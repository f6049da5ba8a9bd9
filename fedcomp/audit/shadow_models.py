"""Shadow models: what models of the same making say of a record when they were, and were not, trained on it."""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.audit.membership import MembershipReport, infer_membership
from fedcomp.evaluation import per_example_losses

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Model = TypeVar("Model")


@dataclass(frozen=True, eq=False)
class ShadowScores:
    """What K shadow models score.

    Attributes:
        scores: ``[K, n]``, of each record of the pool; logit-scaled confidences, see ``label_confidence``.
        included: ``[K, n]``, whether that model was trained on that record.
        population: ``[K, m]``, of records that no model was trained on; ``m`` is 0 if none were given.

    Raises:
        ValueError: for shapes that do not fit, a NaN, or a record with fewer than two models on either side.
    """

    scores: Floats
    included: NDArray[np.bool_]
    population: Floats

    def __post_init__(self) -> None:
        if self.scores.ndim != 2 or self.included.shape != self.scores.shape:
            raise ValueError(
                f"scores and included must both be [models, records], got {list(self.scores.shape)} and "
                f"{list(self.included.shape)}"
            )
        if self.population.ndim != 2 or len(self.population) != len(self.scores):
            raise ValueError(
                f"population must be [{len(self.scores)} models, records], got {list(self.population.shape)}"
            )
        if np.isnan(self.scores).any() or np.isnan(self.population).any():
            raise ValueError("scores and population must not hold NaN")
        inside = self.included.sum(axis=0)
        if inside.size == 0 or inside.min() < 2 or (len(self.scores) - inside).min() < 2:
            raise ValueError("included must put every record into two models or more, and leave it out of two or more")


def random_halves(num_models: int, num_records: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return ``[num_models, num_records]``: each record is in exactly half of the models, chosen at random.

    Raises:
        ValueError: for an odd number of models, or fewer than four.
    """
    if num_models < 4 or num_models % 2:
        raise ValueError(f"num_models must be even and at least 4, got {num_models}")
    order = rng.random((num_models, num_records)).argsort(axis=0)
    return np.asarray(order < num_models // 2)


def shadow_scores(
    train: Callable[[Rows, int], Model],
    confidence: Callable[[Model, NDArray[Any], NDArray[Any]], Floats],
    inputs: NDArray[Any],
    targets: NDArray[Any],
    *,
    num_models: int = 16,
    population: tuple[NDArray[Any], NDArray[Any]] | None = None,
    rng: np.random.Generator,
) -> ShadowScores:
    """Train ``num_models`` models, each on a random half of the pool, and score every record with each of them.

    Shokri et al., *Membership inference attacks against machine learning models* (2017); halves after Carlini et al.,
    *Membership inference attacks from first principles* (2022). One model is in memory at a time.

    Args:
        train: gets ascending row numbers of the pool and a seed, and returns a model made as the attacked one was.
        confidence: gets a model, inputs and targets, and returns a score ``[n]``, higher for a record that it knows;
            ``label_confidence`` for classifiers.
        inputs: the pool, ``[n, ...]``: the records whose membership is asked.
        targets: ``[n]``.
        num_models: even, at least 4.
        population: inputs and targets of records outside of the pool, from the same distribution.
        rng: draws halves and seeds; may be seeded, since an attack protects nothing.

    Raises:
        ValueError: for a number of models, or scores, that cannot be used.
    """
    included = random_halves(num_models, len(targets), rng)
    known, unknown = [], []
    for row in included:
        model = train(np.flatnonzero(row), int(rng.integers(2**63)))
        known.append(confidence(model, inputs, targets))
        unknown.append(confidence(model, *population) if population else np.empty(0))
    return ShadowScores(np.stack(known), included, np.stack(unknown))


def label_confidence(
    module: nn.Module, inputs: NDArray[Any], targets: NDArray[Any], padding: int | None = None
) -> Floats:
    """Return ``log(p / (1 - p))`` of the probability ``p`` that ``module`` gives each row's class, ``[n]``.

    In this scale the scores of one record over models are near to normal (Carlini et al. 2022). Computed from the
    logits in double precision, as the class's logit less the logarithm of the sum over the others: no ``1 - p`` is
    ever rounded to 0. Of targets that are sequences, it is the mean over the tokens that are not ``padding``.
    """
    return per_example_losses(module, inputs, targets, functools.partial(_log_odds, padding=padding))


def report_attack(
    scores: Floats,
    members: NDArray[np.bool_],
    assumptions: str,
    *,
    delta: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> MembershipReport:
    """Judge an attack by its scores ``[n]``, higher for a likelier member, as ``infer_membership`` judges losses.

    Args:
        scores: of the records of the pool.
        members: ``[n]``, the truth: whether the attacked model was trained on each; as many are as are not.
        assumptions: what the attack knows and what its figures rest on, for the report.
        delta: as in ``infer_membership``, like the two that follow.
        rng: breaks ties and splits halves.
        confidence: of intervals and bound.

    Raises:
        ValueError: for unequal lengths, and as ``infer_membership`` does.
    """
    if scores.shape != members.shape or members.dtype != np.bool_:
        raise ValueError(
            f"members must be a bool for each of {list(scores.shape)} scores, got {members.dtype}{list(members.shape)}"
        )
    report = infer_membership(-scores[members], -scores[~members], delta=delta, rng=rng, confidence=confidence)
    return dataclasses.replace(report, assumptions=assumptions)


def _log_odds(outputs: torch.Tensor, targets: torch.Tensor, padding: int | None) -> torch.Tensor:
    if outputs.dim() != targets.dim() + 1 or targets.dim() > 2 or outputs.shape[-1] < 2:
        raise ValueError(
            f"outputs must be [n, classes] or [n, length, classes] with two classes or more, got {list(outputs.shape)}"
        )
    own = targets.unsqueeze(-1)
    others = outputs.scatter(-1, own, -torch.inf).logsumexp(dim=-1)
    odds = outputs.gather(-1, own).squeeze(-1) - others
    if odds.dim() == 1:
        return odds
    counted = torch.ones_like(targets) if padding is None else targets != padding
    return (odds * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
