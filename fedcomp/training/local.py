"""Plain local training by mini-batches, reproducible to the bit on one thread."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp import arrays
from fedcomp.arrays import Array
from fedcomp.errors import DataError
from fedcomp.tasks.base import Split
from fedcomp.training.batches import gather
from fedcomp.training.descent import descent
from fedcomp.training.model_state import get_arrays
from fedcomp.training.precision import in_precision

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TrainResult:
    """What one client's training gave: the update (after minus before) and what is reported beside it."""

    update: dict[str, Array]
    num_examples: int
    """Rows that the client holds, whether or not every one of them was in a batch."""
    steps: int
    loss: float
    """Mean over the steps of the batch's mean loss, before the step."""


def train_plain(
    module: nn.Module,
    split: Split,
    *,
    loss: Loss,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
    local_steps: int | None = None,
    local_epochs: int | None = None,
    momentum: float = 0.0,
    precision: str = "float32",
    optimizer: str = "sgd",
) -> TrainResult:
    """Train ``module`` in place on ``split``, and return the update.

    Each epoch is a fresh permutation cut into batches, and its last batch may be smaller. A split with fewer rows than
    a batch is one batch. What an optimizer remembers starts at zero in every call. Layers that draw at random (dropout)
    draw from ``rng`` too, so equal module, split and ``rng`` give equal bits.

    ``module`` holds the trained state afterwards, without gradients, in the mode (train or eval) that it came in.

    Args:
        module: the model, holding the state to start from.
        split: the client's rows; ``inputs`` may be a memory-mapped float16 array.
        loss: ``loss(outputs, targets)`` returns one value an example.
        batch_size: rows a step.
        learning_rate: step length on the batch's mean loss.
        rng: draws permutations and dropout masks.
        local_steps: number of steps, over as many epochs as that takes; give this or ``local_epochs``.
        local_epochs: number of passes over the split.
        momentum: share of the last step's velocity that is kept, in [0, 1).
        precision: what the model multiplies in, ``float32`` or ``bfloat16``; loss, weights and update are float32.
        optimizer: ``sgd`` or ``adamw``; see ``fedcomp.training.descent``.

    Raises:
        ConfigError: for a precision or an optimizer that there is not, or ``adamw`` with ``momentum``.
        DataError: if the split has no rows.
        ValueError: if neither or both of ``local_steps`` and ``local_epochs`` are given, or a value is out of range.
    """
    steps = _check(len(split), batch_size, learning_rate, momentum, local_steps, local_epochs)
    before, was_training = get_arrays(module), module.training
    parameters: list[torch.Tensor] = [parameter for parameter in module.parameters() if parameter.requires_grad]
    descend = descent(parameters, optimizer, learning_rate, momentum)
    total = 0.0
    module.train()
    with torch.random.fork_rng(devices=[]), in_precision(module, precision) as forward:
        torch.default_generator.manual_seed(int(rng.integers(2**63)))
        for rows in _batches(len(split), batch_size, steps, rng):
            batch_loss = loss(forward(gather(split.inputs, rows)), gather(split.targets, rows)).mean()
            gradients = torch.autograd.grad(batch_loss, parameters, allow_unused=True, materialize_grads=True)
            total += batch_loss.item()
            descend(gradients)
    module.train(was_training)
    return TrainResult(arrays.subtract(get_arrays(module), before), len(split), steps, total / steps)


def _batches(num_examples: int, batch_size: int, steps: int, rng: np.random.Generator) -> Iterator[NDArray[np.integer]]:
    while steps > 0:
        order = rng.permutation(num_examples)
        for start in range(0, num_examples, batch_size)[:steps]:
            yield order[start : start + batch_size]
            steps -= 1


def _check(
    num_examples: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    local_steps: int | None,
    local_epochs: int | None,
) -> int:
    if num_examples < 1:
        raise DataError("a client cannot train: expected at least 1 training example, got 0")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not learning_rate > 0:
        raise ValueError(f"learning_rate must be greater than 0, got {learning_rate}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if (local_steps is None) == (local_epochs is None):
        raise ValueError(f"give one of local_steps and local_epochs, got {local_steps} and {local_epochs}")
    name, amount = ("local_steps", local_steps) if local_steps is not None else ("local_epochs", local_epochs)
    if amount is None or amount < 1:
        raise ValueError(f"{name} must be at least 1, got {amount}")
    return amount if local_steps is not None else amount * -(-num_examples // batch_size)
