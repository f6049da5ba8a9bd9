"""L0 on the run's own model: its per-example gradients, clipped by the engine that its clients use."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from fedcomp.arrays import Arrays, l2_norm, subtract
from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.replay import FixedBatches, FixedNoise
from fedcomp.audit.token_rows import has_tokens, vocabulary_of
from fedcomp.privacy import PoissonSampler
from fedcomp.rng import stream
from fedcomp.tasks import Split, Task
from fedcomp.training import Draws, clipped_gradient_sum
from fedcomp.training.clipping import ClippingEngine
from fedcomp.training.local import Loss

_SLACK = 1e-5
_LARGE = 1e6


def replay_model(
    module: nn.Module, loss: Loss, rows: Split, max_grad_norm: float, engine: type[ClippingEngine], padding: int = 0
) -> tuple[Finding, ...]:
    """Return whether one row more moves the clipped sum of ``module`` by no more than ``max_grad_norm``.

    ``rows`` are a few of any that the model takes; the last one is taken away, and put back: as it is; of numbers, a
    million times as large, with every input zero, and with NaN; of tokens, as one token again and again, and as nothing
    but the token ``padding``. All is done once more with losses a million times as large, because a row of tokens has
    no size, and a gradient below the bound would tell nothing.
    """
    others = rows.take(np.arange(len(rows) - 1))
    moved = {}
    for kind, measured in (("", loss), (", of a loss a million times as large", _large(loss))):
        without = _sum(module, measured, others, max_grad_norm, engine)
        for name, each in _neighbors(rows, padding):
            difference = subtract(_sum(module, measured, each, max_grad_norm, engine), without)
            moved[f"{name}{kind}"] = l2_norm(difference)
    worst = max(moved, key=lambda name: moved[name])
    bound = float(max(moved.values())) <= max_grad_norm * (1 + _SLACK)
    finite = bool(np.isfinite(list(moved.values())).all())
    whole = f"a row {worst} moves the sum by {moved[worst]:.6g}, the bound is {max_grad_norm:g} ({engine.__name__})"
    claim = "with the run's own model, one example moves the sum of gradients by no more than max_grad_norm"
    how = "replay of the run's code with and without one row; exact up to 1e-5, no chance of error"
    return (judged("L0 replay", claim, bound and finite, whole, how),)


def made_up_split(task: Task, module: nn.Module, count: int) -> Split:
    """Return ``count`` made-up rows in the shapes and dtypes of the task's, whose values are not read.

    Tokens are any that ``module`` knows. Targets that are sequences end in padding, each where it likes, and so do the
    inputs that they are read from: the last of a row, which are as many.

    Raises:
        ValueError: for rows of tokens and a module without an embedding.
    """
    like, rng = task.train(), stream(0, "audit", "rows")
    shape = (count, *like.inputs.shape[1:])
    if has_tokens(like.inputs):
        inputs = rng.integers(0, vocabulary_of(module), shape)
    else:
        inputs = rng.standard_normal(shape).astype(like.inputs.dtype)
    targets = rng.integers(0, task.num_classes, (count, *like.targets.shape[1:]))
    if targets.ndim == 2:
        length = targets.shape[1]
        ended = np.arange(length) >= rng.integers(1, length + 1, count)[:, None]
        targets[ended] = task.padding
        if has_tokens(inputs) and inputs.ndim == 2 and inputs.shape[1] >= length:
            inputs[:, -length:][ended] = task.padding
    return Split(inputs, targets, inputs)


def _neighbors(rows: Split, padding: int) -> Iterator[tuple[str, Split]]:
    """Yield the rows with others in the place of the last."""
    yield "as it is", rows
    if has_tokens(rows.inputs):
        yield "of one token", _with_last(rows, rows.inputs[-1].flat[0], rows.targets[-1])
        of_padding = padding if rows.targets.ndim > 1 else rows.targets[-1]
        yield "of padding", _with_last(rows, padding, of_padding)
        return
    for name, change in (("a million times as large", _LARGE), ("of zeros", 0.0), ("with a NaN", np.nan)):
        yield name, _with_last(rows, rows.inputs[-1].astype(np.float32) * change, rows.targets[-1])


def _with_last(rows: Split, values: Any, answers: Any) -> Split:
    tokens = has_tokens(rows.inputs)
    inputs, targets = rows.inputs.astype(np.int64 if tokens else np.float32), rows.targets.copy()
    inputs[-1], targets[-1] = values, answers
    return Split(inputs, targets, inputs)


def _large(loss: Loss) -> Loss:
    def scaled(outputs: Tensor, targets: Tensor) -> Tensor:
        return _LARGE * loss(outputs, targets)

    return scaled


def _sum(module: nn.Module, loss: Loss, rows: Split, bound: float, engine: type[ClippingEngine]) -> Arrays:
    return clipped_gradient_sum(
        module,
        rows,
        loss=loss,
        sampler=PoissonSampler(len(rows), 0.5, steps=1),
        max_grad_norm=bound,
        engine=engine,
        draws=Draws(FixedBatches(np.ones(len(rows), bool)), FixedNoise(0.0)),
    )
