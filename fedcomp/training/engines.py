"""Which engine clips a model: the fastest, by a rule, of those that clip it rightly, by a check."""

import logging
import types
import weakref
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.training.clipping import CONVOLUTIONS, ClippingEngine, GhostClipping, HookClipping
from fedcomp.training.fingerprint import fingerprint
from fedcomp.training.linear_clipping import LinearClipping, linear_parts
from fedcomp.training.local import Loss
from fedcomp.training.private_model import UnsupportedModel
from fedcomp.training.probe import made_up_model, made_up_rows, problem
from fedcomp.training.vmap_clipping import VmapClipping

_logger = logging.getLogger(__name__)
_UNFOLDED_PER_GRADIENT = 2.0
_MOST_CHOICES = 256
_choices: dict[Hashable, "EngineChoice"] = {}


@dataclass(frozen=True)
class EngineChoice:
    """An engine, and why this one; ``engine.name`` and ``reason`` are what a run records."""

    engine: type[ClippingEngine]
    reason: str


def choose_engine(module: nn.Module, loss: Loss, inputs: NDArray[Any], targets: NDArray[Any]) -> EngineChoice:
    """Return the engine that is fastest, by a rule, among those that clip this model rightly.

    Rightly: a model may escape clipping without an error, by a weight that is used outside of its layer, examples that
    influence each other, statistics kept in a buffer. So each engine clips three made-up rows (of the given ones only
    shapes and dtypes are read) in a copy with made-up weights, and the sum must equal the sum of three gradients that
    were computed and clipped one by one.

    Fastest: by what an engine has to hold for one row, never by a clock, so that equal models are clipped by the same
    engine on every machine and in every round (two engines agree to rounding alone). The closed form, where the one
    trainable layer is linear. Otherwise ghost clipping, unless convolutions unfold their inputs into more values than
    half the model has parameters: then it is slower than ``vmap``, which holds one gradient a row
    (``benchmarks/clipping_engines.py``). Per-example gradients by hooks come last.

    What was found out is kept in the process for the next module of the same structure, loss and row shape; a module
    or a loss that may hide something (see ``fingerprint``) is checked in every call.

    Args:
        module: the model; not changed.
        loss: ``loss(outputs, targets)`` returns one value an example.
        inputs: any rows, for their shape and dtype.
        targets: any rows, for their shape and dtype.

    Raises:
        UnsupportedModel: if no engine clips the model rightly; names the parameter or the buffer.
    """
    key = _key(module, loss, inputs, targets)
    if key is not None and key in _choices:
        return _choices[key]
    choice = _choose(module, loss, *made_up_rows(inputs, targets))
    _logger.info("clipping engine %s: %s", choice.engine.name, choice.reason)
    if key is not None:
        if len(_choices) >= _MOST_CHOICES:
            _choices.clear()
        _choices[key] = choice
    return choice


def _choose(module: nn.Module, loss: Loss, rows: torch.Tensor, answers: torch.Tensor) -> EngineChoice:
    model = made_up_model(module)
    refused: list[str] = []
    for engine, reason in _by_speed(model, rows):
        found = problem(engine, model, loss, rows, answers)
        if found is None:
            return EngineChoice(engine, "; ".join([reason, *refused]))
        refused.append(f"not {engine.name}: {found}")
    raise UnsupportedModel([str(found)])


def _by_speed(model: nn.Module, rows: torch.Tensor) -> Iterator[tuple[type[ClippingEngine], str]]:
    if linear_parts(model) is not None:
        yield LinearClipping, "its one trainable layer is linear, and the norms have a closed form"
    held = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    unfolded = _unfolded(model, rows)
    counts = f"{held:,} gradient values a row, and {unfolded:,} unfolded by convolutions"
    order: list[type[ClippingEngine]] = [GhostClipping, VmapClipping]
    if held <= _UNFOLDED_PER_GRADIENT * unfolded:
        order.reverse()
    order.append(HookClipping)
    for engine in order:
        yield engine, counts


def _unfolded(model: nn.Module, rows: torch.Tensor) -> int:
    """Return how many values the trainable convolutions' inputs have for one row, unfolded into patches."""
    found: list[int] = []

    def count(layer: Any, _: Any, output: torch.Tensor) -> None:
        patches = output.numel() // (len(output) * output.shape[1])
        found.append(patches * layer.weight[0].numel() * layer.groups)

    layers = [each for each in model.modules() if isinstance(each, CONVOLUTIONS) and each.weight.requires_grad]
    hooks = [each.register_forward_hook(count) for each in layers]
    try:
        with torch.no_grad():
            model(rows[:1])
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return 0  # a model that does not run is refused by the check, in its words
    finally:
        for hook in hooks:
            hook.remove()
    return sum(found)


def _key(module: nn.Module, loss: Loss, inputs: NDArray[Any], targets: NDArray[Any]) -> Hashable | None:
    structure, criterion = fingerprint(module), _loss_key(loss)
    if structure is None or criterion is None:
        return None
    return structure, criterion, inputs.dtype, inputs.shape[1:], targets.dtype, targets.shape[1:]


def _loss_key(loss: Loss) -> Hashable | None:
    """Return a key that is the loss's own, and keeps no data set alive; None where there is none."""
    if isinstance(loss, nn.Module):
        return fingerprint(loss)
    if isinstance(loss, types.MethodType):
        return _Same(loss.__self__), loss.__func__
    return _Same(loss) if isinstance(loss, types.FunctionType) else None


class _Same:
    """Equal to what refers to the same object, while that lives: its own ``==`` may compare whole data sets."""

    def __init__(self, value: object) -> None:
        self._id, self._reference = id(value), weakref.ref(value)

    def __hash__(self) -> int:
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        mine = self._reference()
        return isinstance(other, _Same) and mine is not None and mine is other._reference()
