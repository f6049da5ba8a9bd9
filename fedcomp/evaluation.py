"""How good a model is, and what it costs: accuracy, loss, size on disk, time for one example."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.threads import single_thread


@dataclass(frozen=True)
class Evaluation:
    """What a model scores on some rows."""

    accuracy: float
    """The task's metric over all rows at once, in [0, 1] for accuracy."""
    loss: float
    """Mean loss of an example."""


@dataclass(frozen=True)
class ModelCost:
    """What a model costs to ship and to run."""

    parameters: int
    """Values that training changes."""
    bytes: int
    """Size of the whole state as a safetensors file."""
    latency_ms: float
    """Median time for one example on one thread, in milliseconds."""


def evaluate(
    module: nn.Module,
    inputs: NDArray[Any],
    targets: NDArray[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    metric: Callable[[Tensor, Tensor], float],
    batch_size: int = 256,
) -> Evaluation:
    """Return metric and mean loss of ``module``, in eval mode, over rows ``[n, ...]`` with targets ``[n, ...]``.

    ``inputs`` may be a memory-mapped float16 array; one batch of it is in memory at a time. The module's mode is put
    back.

    Raises:
        ValueError: without rows, or with another number of targets.
    """
    outputs = torch.cat(list(_outputs(module, inputs, targets, batch_size)))
    answers = _tensor(targets)
    return Evaluation(float(metric(outputs, answers)), float(loss(outputs, answers).double().mean()))


def per_example_losses(
    module: nn.Module,
    inputs: NDArray[Any],
    targets: NDArray[Any],
    loss: Callable[[Tensor, Tensor], Tensor],
    batch_size: int = 256,
) -> NDArray[np.float64]:
    """Return the loss of each row, ``[n]`` float64, in eval mode: what a membership attack scores.

    Raises:
        ValueError: without rows, with another number of targets, or if ``loss`` does not return a value an example.
    """
    # in double precision: a confident model's float32 losses round to one and the same 0, and an attack that ranks
    # losses would find ties where there is something to find
    answers = _tensor(targets)
    parts: list[Tensor] = []
    for outputs in _outputs(module, inputs, targets, batch_size):
        start = sum(len(part) for part in parts)
        part = loss(outputs.double(), answers[start : start + len(outputs)]).double()
        if part.shape != (len(outputs),):
            raise ValueError(f"loss must return one value an example, [{len(outputs)}], got {list(part.shape)}")
        parts.append(part)
    return np.asarray(torch.cat(parts).numpy())


def model_cost(module: nn.Module, rows: NDArray[Any], repeats: int = 200, warm_up: int = 20) -> ModelCost:
    """Return the size of ``module`` and its median time for the first of ``rows [n, ...]``, alone.

    The time is measured, so it differs from run to run; compare ratios taken on one machine at one time.
    """
    parameters = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    state = {name: tensor.detach().clone().contiguous() for name, tensor in module.state_dict().items()}
    row, seconds = _tensor(rows[:1]), []
    with _eval_mode(module), single_thread():
        for _ in range(warm_up + repeats):
            start = time.perf_counter()
            module(row)
            seconds.append(time.perf_counter() - start)
    return ModelCost(parameters, len(safetensors.torch.save(state)), 1e3 * statistics.median(seconds[warm_up:]))


def _outputs(module: nn.Module, inputs: NDArray[Any], targets: NDArray[Any], batch_size: int) -> Iterator[Tensor]:
    if not len(inputs) or len(inputs) != len(targets):
        raise ValueError(f"expected rows and a target for each, got {len(inputs)} rows and {len(targets)} targets")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    with _eval_mode(module):
        for start in range(0, len(inputs), batch_size):
            yield module(_tensor(inputs[start : start + batch_size]))


def _tensor(rows: NDArray[Any]) -> Tensor:
    dtype = torch.float32 if np.issubdtype(rows.dtype, np.floating) else torch.int64
    return torch.from_numpy(np.array(rows)).to(dtype)  # a copy: torch wants memory that it may write to


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)
