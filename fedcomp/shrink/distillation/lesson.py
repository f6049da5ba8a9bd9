"""What a student is shown: rows in versions, and what the teacher says to them."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedcomp.shrink.base import Loss, Material, ShrinkError
from fedcomp.shrink.distillation.losses import distillation_loss
from fedcomp.shrink.distillation.versions import image_versions

Answers = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The teacher's logits of a batch: its versions ``[batch]`` and its rows ``[batch]``, both numbers."""

_PIECE = 256
_KEPT_BYTES = 2**28
"""Answers that take more are asked for again in each epoch: translations have thousands of logits a word."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Rows ``versions [versions, n, ...]``, ``answers`` to them, and what the material says beside.

    ``counted [n, length]`` marks the answers of a sequence that are not padding; None where each row has one answer.
    ``teacher`` is None where only its answers are known, so that none of its layers can be looked into.
    """

    versions: torch.Tensor
    answers: Answers
    targets: torch.Tensor | None
    loss: Loss
    counted: torch.Tensor | None = None
    teacher: nn.Module | None = None

    def __len__(self) -> int:
        return self.versions.shape[1]


def prepare(material: Material, copies: int, padding: int, rng: np.random.Generator) -> Lesson:
    """Return the lesson in ``material``: images in ``copies`` versions, other rows as they are.

    The teacher answers every version once, where its answers fit in memory. Sequences have logits
    ``[n, length, classes]``: an answer counts where the target at its place is not the token ``padding`` or, without
    targets, where the token that it follows is not, which is one of the last ``length`` tokens of the row.

    Raises:
        ShrinkError: without rows or teacher, or if the teacher's logits are not finite or have another shape.
    """
    if material.teacher is None:
        raise ShrinkError("expected a teacher in the material, got none")
    if not len(material.inputs):
        raise ShrinkError(f"expected {material.data} rows to learn from, got 0")
    teacher = copy.deepcopy(material.teacher).eval()
    versions = torch.stack([torch.from_numpy(rows) for rows in image_versions(material.inputs, copies, rng)])
    first = _ask(teacher, versions[0, :1])
    targets = None if material.targets is None else torch.from_numpy(np.array(material.targets, dtype=np.int64))
    return Lesson(
        versions=versions,
        answers=_answers(teacher, versions, first[0].numel()),
        targets=targets,
        loss=material.loss,
        counted=counted_answers(first, versions[0], targets, padding),
        teacher=teacher,
    )


def distance_to(module: nn.Module, lesson: Lesson, temperature: float = 1.0) -> float:
    """Return the mean ``distillation_loss`` of ``module``, in eval mode, over all answers to the first version."""
    total, answered = 0.0, 0
    module.eval()
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(lesson)), _PIECE):
            counted = None if lesson.counted is None else lesson.counted[rows]
            count = len(rows) if counted is None else int(counted.sum())
            answers = lesson.answers(torch.zeros_like(rows), rows)
            total += count * float(distillation_loss(module(lesson.versions[0, rows]), answers, temperature, counted))
            answered += count
    return total / max(answered, 1)


def _answers(teacher: nn.Module, versions: torch.Tensor, values: int) -> Answers:
    if versions.shape[0] * versions.shape[1] * values * 4 > _KEPT_BYTES:
        return lambda chosen, rows: _ask(teacher, versions[chosen, rows])

    @functools.cache  # asked for when first needed: a lesson with hints never needs them
    def kept() -> torch.Tensor:
        return torch.stack([torch.cat([_ask(teacher, piece) for piece in rows.split(_PIECE)]) for rows in versions])

    return lambda chosen, rows: kept()[chosen, rows]


def _ask(teacher: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = teacher(rows)
    _check_logits(logits, len(rows))
    return logits.detach().float()


def _check_logits(logits: torch.Tensor, count: int) -> None:
    """Refuse what are not finite logits ``[count, classes]`` or ``[count, length, classes]`` of two classes or more.

    Raises:
        ShrinkError: saying what came.
    """
    if logits.ndim not in (2, 3) or len(logits) != count or logits.shape[-1] < 2 or not torch.isfinite(logits).all():
        finite = "finite" if torch.isfinite(logits).all() else "not finite"
        raise ShrinkError(
            f"the teacher must return finite logits [{count}, classes] or [{count}, length, classes] of at least 2 "
            f"classes, got {list(logits.shape)}, {finite}"
        )


def counted_answers(
    logits: torch.Tensor, rows: torch.Tensor, targets: torch.Tensor | None, padding: int
) -> torch.Tensor | None:
    """Return which answers count, ``[n, length]``, given logits of a row or more; None if a row has one answer."""
    if logits.ndim == 2:
        return None
    length = logits.shape[1]
    if targets is not None and targets.shape == (len(rows), length):
        return targets != padding
    if not rows.is_floating_point() and rows.ndim == 2 and rows.shape[1] >= length:
        return rows[:, -length:] != padding
    return torch.ones(len(rows), length, dtype=torch.bool)
