"""Knowledge distillation of the global model into a student, on public rows alone.

Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015). The teacher is released state and the
rows are public, so the student is post-processing: it costs no privacy and keeps the teacher's guarantee.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fedcomp.tasks.base import Split

Teacher = Callable[[NDArray[Any]], NDArray[Any]]
_SHIFT = 1


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
    """
    _check(public, temperature, epochs, batch_size, learning_rate, hard_label_weight, copies)
    versions = image_versions(public.raw, copies, rng)
    logits = torch.stack([_ask(teacher, version) for version in versions])
    images = torch.stack([torch.from_numpy(version) for version in versions])
    targets = torch.from_numpy(np.asarray(public.targets))
    trained = copy.deepcopy(student).train()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(public) / batch_size))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        for _ in range(epochs):
            order = torch.from_numpy(rng.permutation(len(public)))
            chosen = torch.from_numpy(rng.integers(len(versions), size=len(public)))
            for rows in torch.split(order, batch_size):
                outputs = trained(images[chosen[rows], rows])
                loss = distillation_loss(outputs, logits[chosen[rows], rows], temperature)
                if hard_label_weight:
                    hard = functional.cross_entropy(outputs, targets[rows])
                    loss = (1 - hard_label_weight) * loss + hard_label_weight * hard
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
    return trained.eval()


def distillation_loss(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the mean over rows of KL(teacher || student) of softened logits ``[n, classes]``, times T squared.

    The square keeps the gradient's size the same whatever the temperature (Hinton et al. 2015, section 2).
    """
    softened = (
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
    )
    return functional.kl_div(*softened, reduction="batchmean", log_target=True) * temperature**2


def image_versions(raw: NDArray[Any], copies: int, rng: np.random.Generator) -> list[NDArray[np.float32]]:
    """Return ``copies`` float32 versions of images ``[n, c, h, w]``, the first as they are; other rows as they are.

    The others are shifted by up to a pixel each way (the border is repeated), and every second of them is mixed with
    another image of the slice, at most half and half (Zhang et al. 2018). Larger shifts and mirror images are left out:
    a teacher that never saw them answers wrongly, and the student learns that.
    """
    original = np.array(raw, dtype=np.float32)
    if original.ndim != 4:
        return [original]
    moved = [_moved(original, rng) for _ in range(copies - 1)]
    return [original, *(_mixed(images, rng) if number % 2 else images for number, images in enumerate(moved))]


def _moved(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = rng.integers(0, 2 * _SHIFT + 1, size=(2, count))
    return np.ascontiguousarray(windows[np.arange(count), :, down, right])


def _mixed(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    share = rng.random((len(images), 1, 1, 1), dtype=np.float32) / 2
    mixed: NDArray[np.float32] = ((1 - share) * images + share * images[rng.permutation(len(images))]).astype(
        np.float32
    )
    return mixed


def _ask(teacher: Teacher, rows: NDArray[np.float32]) -> torch.Tensor:
    logits = np.array(teacher(rows), dtype=np.float32)
    if logits.ndim != 2 or len(logits) != len(rows) or not np.isfinite(logits).all():
        raise ValueError(f"the teacher must return finite logits [{len(rows)}, classes], got {list(logits.shape)}")
    return torch.from_numpy(logits)


def _check(
    public: Split,
    temperature: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    hard_label_weight: float,
    copies: int,
) -> None:
    if not len(public):
        raise ValueError("a student needs public rows to learn from, got 0; set data.public_examples")
    for name, value in {"temperature": temperature, "learning_rate": learning_rate}.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be greater than 0 and finite, got {value}")
    for name, count in {"epochs": epochs, "batch_size": batch_size, "copies": copies}.items():
        if count < 1:
            raise ValueError(f"{name} must be at least 1, got {count}")
    if not 0 <= hard_label_weight <= 1:
        raise ValueError(f"hard_label_weight must be in [0, 1], got {hard_label_weight}")
