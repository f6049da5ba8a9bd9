"""Whether an engine clips a model rightly: found out by comparing it with single examples, on made-up rows."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.training.batches import gather
from fedcomp.training.clipping import ClippingEngine
from fedcomp.training.local import Loss
from fedcomp.training.opacus_parts import StepRule

_ROWS = 3
_TOLERANCE = 1e-3


def made_up_rows(inputs: NDArray[Any], targets: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return three rows that have the shape and dtype of the given ones, and nothing of their values."""
    shape, rng = (_ROWS, *inputs.shape[1:]), np.random.default_rng(0)
    floating = np.issubdtype(inputs.dtype, np.floating)
    rows = rng.standard_normal(shape).astype(np.float32) if floating else rng.integers(0, 2, shape)
    answers = np.zeros((_ROWS, *targets.shape[1:]), targets.dtype)
    if np.issubdtype(targets.dtype, np.floating):
        answers[:] = rng.standard_normal(answers.shape)  # whole numbers stay zero: the one class that every task has
    return gather(rows, slice(None)), gather(answers, slice(None))


def made_up_model(module: nn.Module) -> nn.Module:
    """Return a copy in training mode, with made-up trainable weights and no dropout.

    What is found out with it then depends on the module's structure alone, and nothing hides behind a weight that
    happens to be zero. Weights have the size that initial ones have.
    """
    model, rng = copy.deepcopy(module).train(), np.random.default_rng(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            drawn = torch.from_numpy(np.asarray(rng.standard_normal(tuple(parameter.shape), dtype=np.float32)))
            with torch.no_grad():
                parameter.copy_(_initial(drawn))
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0  # no two passes would agree; dropout does not mix examples
    return model


def _initial(drawn: torch.Tensor) -> torch.Tensor:
    if drawn.dim() < 2:
        return 0.5 + 0.1 * drawn  # a bias or a gain: nobody can tell which
    return drawn / math.sqrt(max(1, drawn[0].numel()))


def example_gradients(module: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor) -> list[torch.Tensor]:
    """Return for each parameter the gradients ``[n, ...]`` of the rows, computed one by one, without Opacus."""
    examples = [_gradients(module, loss, rows[i : i + 1], answers[i : i + 1]) for i in range(len(rows))]
    return [torch.stack(gradients) for gradients in zip(*examples, strict=True)]


def _gradients(module: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor) -> tuple[torch.Tensor, ...]:
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    total = loss(module(rows), answers).sum()
    return torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)


def clip_rows(gradients: list[torch.Tensor], max_grad_norm: float) -> list[torch.Tensor]:
    """Return the sum over rows after each row, as one vector over all parameters, is clipped to the norm."""
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
    factors = (max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
    return [torch.einsum("n,n...->...", factors, each) for each in gradients]


def problem(
    engine_type: type[ClippingEngine], model: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor
) -> str | None:
    """Return what the engine does wrong, naming the parameter or the buffer; None if it clips rightly.

    ``model`` comes from ``made_up_model`` and is not changed. Costs about eight passes over one row.
    """
    try:
        return _difference(engine_type, copy.deepcopy(model), loss, rows, answers)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        return f"no gradient by example can be computed: {error}"


def _difference(
    engine_type: type[ClippingEngine], model: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor
) -> str | None:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients = example_gradients(model, loss, rows, answers)
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
    bound = 0.7 * float(norms.median()) or 1.0  # some rows are clipped, and some may not be
    # an engine that goes row by row clips a model that mixes examples rightly too, and trains another one than is meant
    batch = _gradients(model, loss, rows, answers)
    if (name := _unequal(model, batch, [each.sum(dim=0) for each in gradients], float(norms.sum()))) is None:
        engine = engine_type(model, loss, StepRule(bound, 0.0, 1.0, 1.0, 0.0, np.random.default_rng(0)))
        engine.accumulate(rows, answers)
        name = _unequal(model, engine.clipped_sum(), clip_rows(gradients, bound), bound)
    if name is not None:
        return f"parameter {name!r}: its gradient for one example cannot be told apart from the others'"
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, buffers[name]):
            return f"buffer {name!r} changes in training: it keeps statistics of private examples"
    return None


def _unequal(
    model: nn.Module, found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor], scale: float
) -> str | None:
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    for name, ours, theirs in zip(names, found, expected, strict=True):
        if not (ours - theirs).norm() <= _TOLERANCE * scale:
            return name
    return None
