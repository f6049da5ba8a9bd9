"""The training loop of every distillation: AdamW, with a learning rate that falls to zero along a cosine."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError

BatchLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The loss of a batch: its versions ``[batch]`` and its rows ``[batch]``, both numbers, to one value."""


@dataclass(frozen=True)
class Descent:
    """How long and how fast: passes over the rows, rows a step, learning rate at the start, AdamW's weight decay.

    Loshchilov and Hutter, *Decoupled weight decay regularization* (2019), and *SGDR: Stochastic gradient descent with
    warm restarts* (2017), without the restarts.

    Raises:
        ValueError: for a value out of range, naming it.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ValueError(f"learning_rate must be greater than 0 and finite, got {self.learning_rate}")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise ValueError(f"weight_decay must be at least 0 and finite, got {self.weight_decay}")


def descend(
    parameters: Iterable[nn.Parameter],
    batch_loss: BatchLoss,
    descent: Descent,
    rng: np.random.Generator,
    *,
    rows: int,
    versions: int = 1,
    after_step: Callable[[], None] | None = None,
) -> None:
    """Move ``parameters`` down ``batch_loss``; an epoch shows each of ``rows`` once, in a version drawn at random.

    Everything is drawn from ``rng``, dropout included; torch's global generator is left as it was. ``after_step`` is
    called after every step, to put back what must not move.

    Raises:
        ShrinkError: if the loss is no longer finite, naming the step.
    """
    optimizer = torch.optim.AdamW(parameters, lr=descent.learning_rate, weight_decay=descent.weight_decay)
    total = descent.epochs * math.ceil(rows / descent.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        for _ in range(descent.epochs):
            order = torch.from_numpy(rng.permutation(rows))
            chosen = torch.from_numpy(rng.integers(versions, size=rows))
            for batch in torch.split(order, descent.batch_size):
                loss = batch_loss(chosen[batch], batch)
                if not torch.isfinite(loss):
                    raise ShrinkError(
                        f"step {schedule.last_epoch}: expected a finite loss, got {loss.item()}; "
                        f"learning_rate {descent.learning_rate} may be too large"
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if after_step is not None:
                    after_step()
                schedule.step()
    optimizer.zero_grad(set_to_none=True)
