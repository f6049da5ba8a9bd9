"""How good a model is, and what it costs: accuracy, loss, size on disk, time for one example."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.threads import single_thread

_HELD_BYTES = 2**28
_PIECE = 2**22
"""Values that a loss gets at once."""


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

    ``inputs`` may be a memory-mapped float16 array; one batch of it is in memory at a time. The metric sees all outputs
    at once, since it may be any (a rank is no mean of batches); where they take more than 256 MiB, as thousands of
    logits a word do, they lie in a temporary file meanwhile. The module's mode is put back.

    Raises:
        ValueError: without rows, with another number of targets, or if ``loss`` does not return a value an example.
        OSError: if the temporary file cannot be written.
    """
    answers, losses = _tensor(targets), []
    with tempfile.TemporaryFile() as file:
        held = _Held(len(targets), file)
        for outputs in _outputs(module, inputs, targets, batch_size):
            losses += _losses(outputs, answers[held.rows : held.rows + len(outputs)], loss)
            held.add(outputs)
        accuracy = float(metric(held.all(), answers))
    return Evaluation(accuracy, float(torch.cat(losses).double().mean()))


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
    start = 0
    for outputs in _outputs(module, inputs, targets, batch_size):
        parts += _losses(outputs, answers[start : start + len(outputs)], lambda *pair: loss(pair[0].double(), pair[1]))
        start += len(outputs)
    return np.asarray(torch.cat(parts).double().numpy())


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


class _Held:
    """Outputs of all of so many rows, batch after batch: in memory, or in ``file`` where they are large."""

    def __init__(self, count: int, file: IO[bytes]) -> None:
        self._count, self._file = count, file
        self._tensor: Tensor | None = None
        self._shape: tuple[int, ...] = ()
        self.rows = 0

    def add(self, outputs: Tensor) -> None:
        if not self.rows:
            self._shape, self._dtype = tuple(outputs.shape[1:]), outputs.dtype
            if outputs[0].nbytes * self._count <= _HELD_BYTES:
                self._tensor = outputs.new_empty((self._count, *self._shape))
        if self._tensor is None:
            # written, not mapped: a full disk is then an error and not a killed process
            self._file.write(np.ascontiguousarray(outputs.numpy()).data)
        else:
            self._tensor[self.rows : self.rows + len(outputs)] = outputs
        self.rows += len(outputs)

    def all(self) -> Tensor:
        if self._tensor is not None:
            return self._tensor
        self._file.flush()
        dtype = torch.empty(0, dtype=self._dtype).numpy().dtype
        # "c": torch wants memory that it may write to; what it writes stays out of the file
        return torch.from_numpy(np.memmap(self._file, dtype, "c", shape=(self.rows, *self._shape)))


def _losses(outputs: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Return the losses of a batch's rows, in pieces; a loss works on copies of what it gets."""
    found, size = [], max(1, _PIECE // max(1, outputs[0].numel()))
    for some, answers in zip(torch.split(outputs, size), torch.split(targets, size), strict=True):
        losses = loss(some, answers)
        if losses.shape != (len(some),):
            raise ValueError(f"loss must return one value an example, [{len(some)}], got {list(losses.shape)}")
        found.append(losses)
    return found


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
