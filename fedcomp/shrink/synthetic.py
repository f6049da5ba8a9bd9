"""Rows made up where there are no public ones: structured noise, and inputs optimised against the teacher alone.

Made from released state and a generator, so what is computed from them is post-processing: data ``synthetic``.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fedcomp.shrink.base import Loss, Material, ShrinkError
from fedcomp.shrink.distillation.features import hidden_layers, watched

_PIECE = 256
_COARSEST = 4


@dataclass(frozen=True)
class Inversion:
    """How inputs are optimised until a teacher is sure of them.

    Yin et al., *Dreaming to distill: Data-free knowledge transfer via DeepInversion* (2020), without its term of
    BatchNorm statistics, which these models do not have: each input is given a class, and priors keep it smooth and
    small. Chen et al., *Data-free learning of student networks* (DAFL, 2019), for inputs themselves and not for a
    generator: strong activations, and a batch whose mean answer is spread over all classes.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    steps: int = 100
    learning_rate: float = 0.05
    conditional: bool = True
    """Whether inputs are driven towards classes drawn for them; else towards what the teacher already takes each
    for, DAFL's one-hot loss."""
    variation_weight: float = 0.1
    """Of the mean squared difference of neighbours; rows ``[n, features]`` have none."""
    norm_weight: float = 0.01
    """Of the mean square of inputs."""
    activation_weight: float = 0.01
    """Of the mean magnitude of the last hidden layer, which is to be large."""
    diversity_weight: float = 1.0
    """Of the entropy of the batch's mean answer over its largest, which is to be 1."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be greater than 0 and finite, got {self.learning_rate}")
        for name in ("variation_weight", "norm_weight", "activation_weight", "diversity_weight"):
            if not (getattr(self, name) >= 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")


def structured_noise(
    shape: tuple[int, ...], count: int, rng: np.random.Generator, *, low: float = -1.0, high: float = 1.0
) -> NDArray[np.float32]:
    """Return ``count`` rows of ``shape`` in [low, high]: fields of random roughness, contrast and brightness.

    Coarse Gaussian noise drawn out over the last axis, or over the last two of images, plus fine noise: smooth in
    places, as what is measured is, and as white noise is not. The baseline that optimised inputs have to beat.

    Raises:
        ValueError: without rows or for an empty range.
    """
    if count < 1 or not low < high:
        raise ValueError(f"expected at least 1 row and low < high, got {count} rows in [{low}, {high}]")
    fields = np.stack([_field(shape, rng) for _ in range(count)])
    scale, shift = rng.uniform(0.3, 1.0, _each(count, shape)), rng.normal(0, 0.3, _each(count, shape))
    unit = np.clip(fields * scale + shift, -1, 1)
    return np.asarray(low + (high - low) * (unit + 1) / 2, dtype=np.float32)


def optimised(
    teacher: nn.Module,
    start: NDArray[np.floating[Any]],
    options: Inversion,
    rng: np.random.Generator,
    *,
    low: float = -1.0,
    high: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return rows in [low, high] that ``teacher`` is sure of, and the classes ``[n]`` that each was driven to.

    ``start [n, ...]`` is where they come from, such as ``structured_noise``. The teacher answers in eval mode.

    Raises:
        ShrinkError: for rows that are not floating point, or a teacher whose logits are not ``[n, classes]``.
    """
    if not np.issubdtype(start.dtype, np.floating):
        raise ShrinkError(f"expected floating point rows to optimise, got {start.dtype}: tokens cannot be moved a bit")
    asked = copy.deepcopy(teacher).eval().requires_grad_(False)
    pieces = torch.split(torch.from_numpy(np.array(start, np.float32)), _PIECE)
    made = [_optimise(asked, piece, options, rng, (low, high)) for piece in pieces]
    rows, classes = (np.concatenate([part.numpy() for part in parts]) for parts in zip(*made, strict=True))
    return rows, classes


def made_up(
    teacher: nn.Module,
    shape: tuple[int, ...],
    count: int,
    loss: Loss,
    rng: np.random.Generator,
    *,
    options: Inversion | None = None,
    low: float = -1.0,
    high: float = 1.0,
) -> Material:
    """Return ``count`` made-up rows of ``shape`` in [low, high] as a material: one half noise, one half optimised.

    Noise shows a student where the teacher hesitates, optimised rows what it is sure of. Which of them teaches more
    depends on the data: noise on digits as rows of pixels, optimised rows on Fashion-MNIST as images. Half and half was
    as good as the better of the two on both, and nobody has rows to find out by.

    Raises:
        ShrinkError, ValueError: as ``structured_noise`` and ``optimised`` do.
    """
    rows = structured_noise(shape, count, rng, low=low, high=high)
    half = count // 2
    rows[half:], _ = optimised(teacher, rows[half:], options or Inversion(), rng, low=low, high=high)
    return Material(inputs=rows, targets=None, data="synthetic", loss=loss, teacher=teacher)


def _optimise(
    teacher: nn.Module,
    start: torch.Tensor,
    options: Inversion,
    rng: np.random.Generator,
    limits: tuple[float, float],
) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        first = teacher(start)
    if first.ndim != 2:
        raise ShrinkError(f"expected a teacher with logits [n, classes], got {list(first.shape)}")
    drawn = torch.from_numpy(rng.permutation(len(start)) % first.shape[1])
    towards = drawn if options.conditional else first.argmax(dim=1)
    hidden = hidden_layers(teacher)[-1:]
    rows = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=options.learning_rate)
    for _ in range(options.steps):
        with watched(teacher, hidden) as seen:
            logits = teacher(rows)
        loss = functional.cross_entropy(logits, towards) + _priors(rows, options) - _wanted(logits, seen, options)
        (rows.grad,) = torch.autograd.grad(loss, [rows])
        optimizer.step()
        with torch.no_grad():
            rows.clamp_(*limits)
    return rows.detach(), towards


def _priors(rows: torch.Tensor, options: Inversion) -> torch.Tensor:
    prior = options.norm_weight * rows.square().mean()
    if rows.ndim == 4:
        down, right = rows.diff(dim=2).square().mean(), rows.diff(dim=3).square().mean()
        prior = prior + options.variation_weight * (down + right)
    return prior


def _wanted(logits: torch.Tensor, seen: dict[str, torch.Tensor], options: Inversion) -> torch.Tensor:
    answer = logits.softmax(dim=1).mean(dim=0)
    entropy = -(answer * answer.clamp_min(1e-12).log()).sum() / math.log(len(answer))
    wanted = options.diversity_weight * entropy
    for features in seen.values():
        wanted = wanted + options.activation_weight * features.abs().mean()
    return wanted


def _field(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return noise that is drawn out by a random factor, plus a little fine noise, of deviation about 1."""
    spread = len(shape) - (2 if len(shape) >= 3 else 1)
    factor = int(rng.integers(1, _COARSEST + 1))
    small = [size if axis < spread else -(-size // factor) + 1 for axis, size in enumerate(shape)]
    field = rng.standard_normal(small)
    for axis in range(spread, len(shape)):
        field = _drawn_out(field, axis, shape[axis], factor)
    drawn: NDArray[np.float64] = field / max(float(field.std()), 1e-6) + 0.1 * rng.standard_normal(shape)
    return drawn


def _drawn_out(field: NDArray[np.float64], axis: int, size: int, factor: int) -> NDArray[np.float64]:
    places = np.arange(size) / factor
    whole = places.astype(np.int64)
    part = (places - whole).reshape([-1 if number == axis else 1 for number in range(field.ndim)])
    return np.take(field, whole, axis) * (1 - part) + np.take(field, whole + 1, axis) * part


def _each(count: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return count, *[1] * len(shape)
