"""Distillation as a step: a module that was cut learns again what its teacher answers."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.distillation.features import Hints
from fedcomp.shrink.distillation.lesson import Lesson, prepare
from fedcomp.shrink.distillation.losses import distillation_loss
from fedcomp.shrink.distillation.schedule import Descent, descend


@dataclass(frozen=True)
class Distil(Step):
    """Train the module on the material's rows to answer as ``material.teacher`` does.

    Hinton, Vinyals and Dean, *Distilling the knowledge in a neural network* (2015), with hints from hidden layers
    (Romero et al., *FitNets*, 2015) where ``feature_weight`` is above 0. Logits are ``[n, classes]``, or
    ``[n, length, classes]`` with padding for rows of tokens. AdamW, with a rate that falls to zero along a cosine.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "distil"
    reads = True
    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3
    temperature: float = 2.0
    """What logits of both are divided by before the softmax."""
    feature_weight: float = 0.0
    """What the distance of features is multiplied by before it is added to the loss; see ``Hints``."""
    feature_layers: Sequence[str] = ()
    """Layers that hints come from, ``"student=teacher"`` where names differ; the last hidden one if left out."""
    hard_label_weight: float = 0.0
    """Share of the loss that comes from the material's targets, in [0, 1]."""
    copies: int = 4
    """Versions of each image; rows that are not images have one."""
    padding: int = 0
    """The token that fills up sequences."""
    keep_zeros: bool = False
    """Whether weights that are exactly zero stay so: what a mask took out. Biases always learn."""
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        object.__setattr__(self, "feature_layers", tuple(self.feature_layers))
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError(f"temperature must be greater than 0 and finite, got {self.temperature}")
        if not (self.feature_weight >= 0 and math.isfinite(self.feature_weight)):
            raise ValueError(f"feature_weight must be at least 0 and finite, got {self.feature_weight}")
        if not 0 <= self.hard_label_weight <= 1:
            raise ValueError(f"hard_label_weight must be in [0, 1], got {self.hard_label_weight}")
        if self.copies < 1:
            raise ValueError(f"copies must be at least 1, got {self.copies}")
        self.descent()  # checks the rest

    def descent(self) -> Descent:
        """Return how long and how fast it learns."""
        return Descent(self.epochs, self.batch_size, self.learning_rate, self.weight_decay)

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a trained copy.

        Raises:
            ShrinkError: without teacher or rows, without targets where they are to have a share, for a teacher whose
                logits the module's do not fit, or if training diverges.
        """
        trained = copy.deepcopy(module)
        learn(trained, prepare(material, self.copies, self.padding, rng), self, rng)
        return trained


def learn(module: nn.Module, lesson: Lesson, options: Distil, rng: np.random.Generator) -> None:
    """Train ``module`` in place on a lesson, and leave it in eval mode.

    Raises:
        ShrinkError: as ``Distil.apply`` does.
    """
    if options.hard_label_weight and lesson.targets is None:
        raise ShrinkError(f"hard_label_weight is {options.hard_label_weight}: expected targets, got rows without")
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not parameters:
        raise ShrinkError("expected a module with parameters that learn, got one without")
    hints = _hints(module.eval(), lesson, options, rng)
    module.train()
    descend(
        [*parameters, *(hints.parameters() if hints else [])],
        lambda chosen, rows: _loss(module, lesson, options, hints, chosen, rows),
        options.descent(),
        rng,
        rows=len(lesson),
        versions=len(lesson.versions),
        after_step=_zeros(parameters) if options.keep_zeros else None,
    )
    module.eval()


def _hints(module: nn.Module, lesson: Lesson, options: Distil, rng: np.random.Generator) -> Hints | None:
    if not options.feature_weight:
        return None
    if lesson.teacher is None:
        raise ShrinkError(f"feature_weight is {options.feature_weight}: expected a teacher to look into, got answers")
    return Hints(module, lesson.teacher, options.feature_layers, lesson.versions[0, :1], rng)


def _loss(
    module: nn.Module, lesson: Lesson, options: Distil, hints: Hints | None, chosen: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    inputs, apart = lesson.versions[chosen, rows], torch.zeros(())
    if hints is None:
        outputs, answers = module(inputs), lesson.answers(chosen, rows)
    else:
        outputs, answers, apart = hints(inputs)
    if outputs.shape != answers.shape:
        raise ShrinkError(f"expected the teacher's shape of logits {list(answers.shape)}, got {list(outputs.shape)}")
    counted = None if lesson.counted is None else lesson.counted[rows]
    loss = distillation_loss(outputs, answers, options.temperature, counted)
    if options.hard_label_weight and lesson.targets is not None:
        hard = lesson.loss(outputs, lesson.targets[rows]).mean()
        loss = (1 - options.hard_label_weight) * loss + options.hard_label_weight * hard
    return loss + options.feature_weight * apart


def _zeros(parameters: Sequence[nn.Parameter]) -> Callable[[], None]:
    kept = [(weight, weight != 0) for weight in parameters if weight.ndim > 1 and bool((weight == 0).any())]

    def put_back() -> None:
        with torch.no_grad():
            for weight, mask in kept:
                weight.mul_(mask)

    return put_back
