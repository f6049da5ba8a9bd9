"""L0 on the run's own model: its per-example gradients, clipped by the engine that its clients use."""

import numpy as np
from torch import nn

from fedcomp.arrays import Arrays, l2_norm, subtract
from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.replay import FixedBatches, FixedNoise
from fedcomp.privacy import PoissonSampler
from fedcomp.rng import stream
from fedcomp.tasks import Split
from fedcomp.training import Draws, clipped_gradient_sum
from fedcomp.training.clipping import ClippingEngine
from fedcomp.training.local import Loss

_SLACK = 1e-5


def replay_model(
    module: nn.Module, loss: Loss, rows: Split, max_grad_norm: float, engine: type[ClippingEngine]
) -> tuple[Finding, ...]:
    """Return whether one row more moves the clipped sum of ``module`` by no more than ``max_grad_norm``.

    ``rows`` are a few of any that the model takes; the last one is taken away, and put back as it is, a million times
    as large, with every input zero, and with one input NaN.
    """
    others = rows.take(np.arange(len(rows) - 1))
    without = _sum(module, loss, others, max_grad_norm, engine)
    moved = {
        name: l2_norm(subtract(_sum(module, loss, each, max_grad_norm, engine), without))
        for name, each in _neighbors(rows)
    }
    worst = max(moved, key=lambda name: moved[name])
    bound = float(max(moved.values())) <= max_grad_norm * (1 + _SLACK)
    finite = bool(np.isfinite(list(moved.values())).all())
    whole = f"a row {worst} moves the sum by {moved[worst]:.6g}, the bound is {max_grad_norm:g} ({engine.__name__})"
    claim = "with the run's own model, one example moves the sum of gradients by no more than max_grad_norm"
    how = "replay of the run's code with and without one row; exact up to 1e-5, no chance of error"
    return (judged("L0 replay", claim, bound and finite, whole, how),)


def made_up_split(like: Split, count: int, num_classes: int) -> Split:
    """Return ``count`` made-up rows in the shapes and dtypes of ``like``."""
    rng = stream(0, "audit", "rows")
    inputs = rng.standard_normal((count, *like.inputs.shape[1:])).astype(like.inputs.dtype)
    return Split(inputs, rng.integers(0, num_classes, count), inputs)


def _neighbors(rows: Split) -> list[tuple[str, Split]]:
    found = [("as it is", rows)]
    for name, change in (("a million times as large", 1e6), ("of zeros", 0.0), ("with a NaN", np.nan)):
        inputs = rows.inputs.astype(np.float32)
        inputs[-1] = inputs[-1] * change
        found.append((name, Split(inputs, rows.targets, inputs)))
    return found


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
