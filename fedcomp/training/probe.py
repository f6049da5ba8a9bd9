"""Which engine clips a model rightly: found out by comparing it with single examples, on made-up rows."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.training.batches import gather
from fedcomp.training.clipping import ClippingEngine, GhostClipping, HookClipping
from fedcomp.training.local import Loss
from fedcomp.training.opacus_parts import StepRule
from fedcomp.training.private_model import UnsupportedModel

_ROWS = 3
_TOLERANCE = 1e-3


def choose_engine(module: nn.Module, loss: Loss, inputs: NDArray[Any], targets: NDArray[Any]) -> type[ClippingEngine]:
    """Return ghost clipping if it clips this model rightly, otherwise the engine over per-example gradients.

    A model may escape clipping without an error: a weight that is used outside of its layer, examples that influence
    each other, statistics kept in a buffer. So a copy of it clips three made-up rows (of the given ones only shapes
    and dtypes are read), and the sum must equal the sum of three gradients that were computed and clipped one by one.
    Costs about seven passes over one row.

    Args:
        module: the model; not changed.
        loss: ``loss(outputs, targets)`` returns one value an example.
        inputs: any rows, for their shape and dtype.
        targets: any rows, for their shape and dtype.

    Raises:
        UnsupportedModel: if neither engine clips the model rightly; names the parameter or the buffer.
    """
    rows, answers = made_up_rows(inputs, targets)
    problem = None
    for engine in (GhostClipping, HookClipping):
        problem = _problem(engine, module, loss, rows, answers)
        if problem is None:
            return engine
    raise UnsupportedModel([str(problem)])


def made_up_rows(inputs: NDArray[Any], targets: NDArray[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return three rows that have the shape and dtype of the given ones, and nothing of their values."""
    shape, rng = (_ROWS, *inputs.shape[1:]), np.random.default_rng(0)
    floating = np.issubdtype(inputs.dtype, np.floating)
    rows = rng.standard_normal(shape).astype(np.float32) if floating else rng.integers(0, 2, shape)
    answers = np.zeros((_ROWS, *targets.shape[1:]), targets.dtype)
    return gather(rows, slice(None)), gather(answers, slice(None))


def example_gradients(module: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor) -> list[torch.Tensor]:
    """Return for each parameter the gradients ``[n, ...]`` of the rows, computed one by one, without Opacus."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    examples = [
        torch.autograd.grad(
            loss(module(rows[i : i + 1]), answers[i : i + 1]).sum(),
            parameters,
            allow_unused=True,
            materialize_grads=True,
        )
        for i in range(len(rows))
    ]
    return [torch.stack(gradients) for gradients in zip(*examples, strict=True)]


def clip_rows(gradients: list[torch.Tensor], max_grad_norm: float) -> list[torch.Tensor]:
    """Return the sum over rows after each row, as one vector over all parameters, is clipped to the norm."""
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
    factors = (max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
    return [torch.einsum("n,n...->...", factors, each) for each in gradients]


def _problem(
    engine_type: type[ClippingEngine], module: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor
) -> str | None:
    try:
        return _difference(engine_type, module, loss, rows, answers)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        return f"no gradient by example can be computed: {error}"


def _difference(
    engine_type: type[ClippingEngine], module: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor
) -> str | None:
    model = _without_dropout(module)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    gradients = example_gradients(model, loss, rows, answers)
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in gradients]).norm(dim=0)
    bound = 0.7 * float(norms.median()) or 1.0  # some rows are clipped, and some may not be
    engine = engine_type(model, loss, StepRule(bound, 0.0, 1.0, 1.0, 0.0, np.random.default_rng(0)))
    engine.accumulate(rows, answers)
    names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    for name, found, expected in zip(names, engine.clipped_sum(), clip_rows(gradients, bound), strict=True):
        if not (found - expected).norm() <= _TOLERANCE * bound:
            return f"parameter {name!r}: its gradient for one example cannot be told apart from the others'"
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, buffers[name]):
            return f"buffer {name!r} changes in training: it keeps statistics of private examples"
    return None


def _without_dropout(module: nn.Module) -> nn.Module:
    model = copy.deepcopy(module).train()
    for layer in model.modules():
        if isinstance(layer, nn.modules.dropout._DropoutNd):
            layer.p = 0.0  # no two passes would agree; dropout does not mix examples
    return model
