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

from fedcomp.shrink.distillation.lesson import Lesson
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
) -> nn.Module:
    """Return a trained copy of ``student``, in eval mode.

    Images (``[n, channels, height, width]``) are seen in ``copies`` versions (see ``image_versions``). The teacher
    labels every version once, up front. An epoch shows every row once, in a version drawn at random. AdamW, with a
    learning rate that falls to zero along a cosine.

    Args:
        student: over ``public.raw``, with its initial weights; not changed.
        public: rows that no client holds. There is no argument for any others.
        teacher: logits ``[n, classes]`` of raw rows ``[n, ...]``.
        temperature: what logits of both are divided by before the softmax.
        epochs: passes over the public rows.
        batch_size: rows a step.
        learning_rate: at the start.
        hard_label_weight: share of the loss that comes from ``public.targets``, in [0, 1].
        rng: draws versions, order, and the student's dropout.
        copies: versions of every image, at least 1; rows that are not images have one.
        weight_decay: of AdamW.

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
    learn(trained, _lesson(public, teacher, copies, rng), options, rng)
    return trained


def _lesson(public: Split, teacher: Teacher, copies: int, rng: np.random.Generator) -> Lesson:
    versions = image_versions(public.raw, copies, rng)
    logits = torch.stack([_ask(teacher, version) for version in versions])
    return Lesson(
        versions=torch.stack([torch.from_numpy(version) for version in versions]),
        answers=lambda chosen, rows: logits[chosen, rows],
        targets=torch.from_numpy(np.asarray(public.targets)),
        loss=lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction="none"),
    )


def _ask(teacher: Teacher, rows: NDArray[Any]) -> torch.Tensor:
    logits = np.array(teacher(rows), dtype=np.float32)
    if logits.ndim != 2 or len(logits) != len(rows) or not np.isfinite(logits).all():
        raise ValueError(f"the teacher must return finite logits [{len(rows)}, classes], got {list(logits.shape)}")
    return torch.from_numpy(logits)
