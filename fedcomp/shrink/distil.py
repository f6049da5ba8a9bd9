"""Knowledge distillation of the global model into a student, on public rows alone.

Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015). The teacher is released state and the
rows are public, so the student is post-processing: it costs no privacy and keeps the teacher's guarantee.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fedcomp.shrink.base import Loss
from fedcomp.shrink.distillation.lesson import Lesson, counted_answers
from fedcomp.shrink.distillation.recover import Distil, learn
from fedcomp.shrink.distillation.versions import image_versions
from fedcomp.tasks.base import Split

Teacher = Callable[[NDArray[Any]], NDArray[Any]]


def distil(
    student: nn.Module,
    public: Split,
    teacher: Teacher,
    *,
    temperature: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    hard_label_weight: float,
    rng: np.random.Generator,
    copies: int = 4,
    weight_decay: float = 1e-4,
    loss: Loss | None = None,
    padding: int = 0,
) -> nn.Module:
    """Return a trained copy of ``student``, in eval mode.

    Images (``[n, channels, height, width]``) are seen in ``copies`` versions (see ``image_versions``). The teacher
    labels every version once, up front, but sequences anew in each epoch, since their logits would fill memory. An
    epoch shows every row once, in a version drawn at random. AdamW, with a learning rate that falls to zero along a
    cosine.

    Args:
        student: over ``public.raw``, with its initial weights; not changed.
        public: rows that no client holds. There is no argument for any others.
        teacher: logits ``[n, classes]`` of raw rows ``[n, ...]``, or ``[n, length, classes]`` of sequences.
        temperature: what logits of both are divided by before the softmax.
        epochs: passes over the public rows.
        batch_size: rows a step.
        learning_rate: at the start.
        hard_label_weight: share of the loss that comes from ``public.targets``, in [0, 1].
        rng: draws versions, order, and the student's dropout.
        copies: versions of every image, at least 1; rows that are not images have one.
        weight_decay: of AdamW.
        loss: ``loss(outputs, targets)``, one value a row, which public labels have their share by; cross-entropy if
            left out.
        padding: the token that fills up sequences; answers that stand for it do not count.

    Raises:
        ValueError: for a value out of range, no public rows, or a teacher that does not answer with finite logits.
        ShrinkError: if training diverges.
    """
    options = Distil(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        temperature=temperature,
        hard_label_weight=hard_label_weight,
        copies=copies,
        weight_decay=weight_decay,
    )
    if not len(public):
        raise ValueError("a student needs public rows to learn from, got 0; set data.public_examples")
    trained = copy.deepcopy(student)
    learn(trained, _lesson(public, teacher, copies, rng, loss or _cross_entropy, padding), options, rng)
    return trained


def _lesson(public: Split, teacher: Teacher, copies: int, rng: np.random.Generator, loss: Loss, padding: int) -> Lesson:
    versions = torch.stack([torch.from_numpy(rows) for rows in image_versions(public.raw, copies, rng)])
    targets = torch.from_numpy(np.asarray(public.targets))
    if not versions.is_floating_point() and (first := _ask(teacher, versions[0, :1])).ndim == 3:
        counted = counted_answers(first, versions[0], targets, padding)
        return Lesson(versions, lambda chosen, rows: _ask(teacher, versions[chosen, rows]), targets, loss, counted)
    logits = torch.stack([_ask(teacher, rows) for rows in versions])
    return Lesson(versions, lambda chosen, rows: logits[chosen, rows], targets, loss)


def _cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def _ask(teacher: Teacher, rows: torch.Tensor) -> torch.Tensor:
    logits = np.array(teacher(rows.numpy()), dtype=np.float32)
    if logits.ndim not in (2, 3) or len(logits) != len(rows) or not np.isfinite(logits).all():
        raise ValueError(f"the teacher must return finite logits [{len(rows)}, classes], got {list(logits.shape)}")
    return torch.from_numpy(logits)
