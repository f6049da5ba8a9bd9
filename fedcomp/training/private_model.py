"""Which models DP-SGD can train: refusals that name the layer and what to use instead."""

import copy
from collections.abc import Iterator, Sequence

from opacus.validators import ModuleValidator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from fedcomp.errors import FedcompError

_OPACUS_TWINS = {nn.LSTM: "DPLSTM", nn.GRU: "DPGRU", nn.RNN: "DPRNN", nn.MultiheadAttention: "DPMultiheadAttention"}


class UnsupportedModel(FedcompError):
    """A model that cannot be trained with DP-SGD; names every layer that stands in the way, and what to use instead."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("the model cannot be trained with DP-SGD: " + "; ".join(self.problems))


def check_private_model(module: nn.Module) -> None:
    """Refuse a model with a layer that mixes examples, keeps statistics of them, or breaks per-example gradients.

    Needs no data, so that it can run before round 1. What only shows when the model runs is found by
    ``fedcomp.training.probe``.

    Raises:
        UnsupportedModel: with every such layer at once.
    """
    problems = [problem for name, layer in module.named_modules() for problem in _layer_problems(name, layer)]
    if not any(parameter.requires_grad for parameter in module.parameters()):
        problems.append("it has no parameter that requires a gradient")
    if not problems:
        # the last word is Opacus' own: it knows more layers than we do, but not their names
        validated = ModuleValidator.validate(copy.deepcopy(module).train(), strict=False)
        problems = [str(error) for error in validated]
    if problems:
        raise UnsupportedModel(problems)


def _layer_problems(name: str, layer: nn.Module) -> Iterator[str]:
    where = f"layer {name!r} ({type(layer).__name__})" if name else f"the model itself ({type(layer).__name__})"
    trainable = any(parameter.requires_grad for parameter in layer.parameters(recurse=False))
    if isinstance(layer, _BatchNorm):
        yield f"{where} mixes the examples of a batch; use GroupNorm"
    elif isinstance(layer, _InstanceNorm) and layer.track_running_stats:
        yield f"{where} keeps statistics of private examples; use GroupNorm, or set track_running_stats=False"
    elif type(layer) in _OPACUS_TWINS:
        yield f"{where} hides its steps from Opacus; use opacus.layers.{_OPACUS_TWINS[type(layer)]}"
    elif trainable and any(True for _ in layer.buffers(recurse=False)):
        yield f"{where} has both parameters and buffers; keep buffers in a layer of their own"
    if getattr(layer, "inplace", False):
        yield f"{where} overwrites what per-example gradients are computed from; use inplace=False"
