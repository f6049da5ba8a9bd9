"""What many models answer on average, with one of them in memory at a time, and a student trained towards that.

``EnsembleTeacher`` asks all models for each batch and holds them all; here each is asked once for every row and let go.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation.lesson import Lesson, distance_to
from fedcomp.shrink.distillation.losses import distillation_loss
from fedcomp.shrink.distillation.schedule import Descent, descend

_PIECE = 256
_UNIT = 2.0**24
"""Sums are kept in units of 2**-24, which is what a float32 of size 1 is exact to."""
_LARGEST = 2.0**16
"""The largest logit that is believed: with it, sums of four million models fit into 64 bits."""


@dataclass(frozen=True, eq=False)
class AnswerSum:
    """The sum of answers, exact in ``totals`` (int64), so that their order does not matter, and how many there are."""

    totals: NDArray[np.int64]
    count: int = 0

    def plus(self, answers: NDArray[np.float32]) -> "AnswerSum":
        """Return the sum with one more model's answers in it; this one is consumed."""
        for start in range(0, len(answers), _PIECE):
            piece = answers[start : start + _PIECE].astype(np.float64)
            self.totals[start : start + _PIECE] += np.rint(piece * _UNIT).astype(np.int64)
        return replace(self, count=self.count + 1)

    def mean(self) -> torch.Tensor:
        """Return the mean in float32; each model has the same weight.

        Raises:
            ShrinkError: if there are no answers.
        """
        if not self.count:
            raise ShrinkError("expected the answers of at least 1 client model, got none")
        mean = np.empty(self.totals.shape, np.float32)
        return torch.from_numpy(np.divide(self.totals, _UNIT * self.count, out=mean, casting="same_kind"))


def answers_of(module: nn.Module, rows: torch.Tensor) -> NDArray[np.float32]:
    """Return the logits of rows ``[n, ...]`` in eval mode, where the module is left.

    Raises:
        ShrinkError: unless they are ``[n, classes]`` or ``[n, length, classes]``, finite and of at most 65,536.
    """
    module.eval()
    with torch.no_grad():
        logits = torch.cat([module(piece) for piece in torch.split(rows, _PIECE)]).float()
    if logits.ndim not in (2, 3) or len(logits) != len(rows):
        raise ShrinkError(
            f"expected logits [{len(rows)}, classes] or [{len(rows)}, length, classes], got {list(logits.shape)}"
        )
    if not bool((logits.abs() <= _LARGEST).all()):  # NaN is not
        raise ShrinkError(f"expected finite logits of at most {_LARGEST:g}, got others")
    answers: NDArray[np.float32] = logits.numpy()
    return answers


def imitate(
    module: nn.Module,
    lesson: Lesson,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    temperature: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Train ``module`` in place on a lesson of one version, and return its loss on all rows before and after.

    Adam, with a rate that falls to zero along a cosine; batches are drawn from ``rng``, every row as often as any other
    but once. The loss is ``distillation_loss``, a mean over answers, in eval mode, where the module is left.

    Raises:
        ShrinkError: if training diverges.
        ValueError: for a value out of range.
    """
    before, rows = distance_to(module, lesson, temperature), len(lesson)
    module.train()
    descend(
        [parameter for parameter in module.parameters() if parameter.requires_grad],
        lambda _, drawn: _loss(module, lesson, drawn % rows, temperature),
        Descent(1, batch_size, learning_rate, weight_decay=0.0),  # AdamW without decay is Adam
        rng,
        rows=steps * batch_size,  # one epoch of so many is as many steps
    )
    return before, distance_to(module, lesson, temperature)


def _loss(module: nn.Module, lesson: Lesson, rows: torch.Tensor, temperature: float) -> torch.Tensor:
    counted = None if lesson.counted is None else lesson.counted[rows]
    answers = lesson.answers(torch.zeros_like(rows), rows)
    return distillation_loss(module(lesson.versions[0, rows]), answers, temperature, counted)
