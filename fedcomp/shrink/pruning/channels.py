"""Structured pruning of convolutions and linear layers: whole channels leave, and layers become physically narrower.

Which channels leave together is told by the graph of Torch-Pruning (G. Fang, X. Ma, M. Song, M. Bi Mi and X. Wang,
*DepGraph: Towards Any Structural Pruning*, 2023); which of them leave, and the cut, are ours.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.layer_sizes import is_depthwise, kind_of
from fedcomp.shrink.pruning.choice import Scope, check_options, check_scope, choose
from fedcomp.shrink.pruning.cut import cut, example_of
from fedcomp.shrink.pruning.groups import Group, Piece
from fedcomp.shrink.pruning.scores import norms, saliencies

_NORMS = (nn.GroupNorm, nn.modules.batchnorm._NormBase)


@dataclass(frozen=True)
class Channels(Step):
    """Removes the share ``ratio`` of the channels, those whose weights have the smallest L2 norm; see ``norms``.

    ``scope``: the same share of each layer, or of all layers together (``global``); ``round_to``: kept channels are a
    multiple of it, which int8 kernels like. What the model puts out is never cut, nor what goes into grouped
    convolutions, depthwise ones excepted. Reads no rows: their shape alone.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "channels"
    reads = False
    ratio: float = 0.5
    scope: Scope = "layer"
    round_to: int = 8

    def __post_init__(self) -> None:
        check_options(self.ratio, self.round_to)
        check_scope(self.scope)

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with narrower layers; see ``Step.apply``.

        Raises:
            ShrinkError: for a model with recurrent layers or heads, or without channels to lose; or if Torch-Pruning is
                not installed.
        """
        example = example_of(material.inputs.shape[1:], material.inputs.dtype)
        groups = channel_groups(module, example)
        if not groups:
            raise ShrinkError(
                f"{self.id}: expected layers with channels to lose, got a {type(module).__name__} without"
            )
        scores = self._scores(module, groups, material)
        return cut(module, groups, choose(groups, scores, self.ratio, self.scope, self.round_to), example)

    def _scores(self, module: nn.Module, groups: Sequence[Group], material: Material) -> list[NDArray[np.float64]]:
        return norms(module, groups)


@dataclass(frozen=True)
class TaylorChannels(Channels):
    """``Channels`` chosen by what the loss on the material's rows says of them; see ``saliencies``."""

    id = "channels-taylor"
    reads = True

    def _scores(self, module: nn.Module, groups: Sequence[Group], material: Material) -> list[NDArray[np.float64]]:
        return saliencies(module, groups, material)


def channel_groups(module: nn.Module, example: Tensor) -> list[Group]:
    """Return the groups of channels that may leave ``module``, in the order in which its graph has them.

    Raises:
        ShrinkError: for layers that Torch-Pruning cannot follow: recurrent ones, and attention.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.RNNBase | nn.MultiheadAttention) or hasattr(layer, "head_width"):
            raise ShrinkError(
                f"channels: expected convolutions and linear layers alone, got {type(layer).__name__} at {name!r}; "
                "the steps recurrent and heads make those smaller"
            )
    if not any(True for _ in module.parameters()):
        return []
    graph, traced = _graph(module, example)
    names = {layer: name for name, layer in traced.named_modules()}
    found = (_group(graph, group, names) for group in graph.get_all_groups(ignored_layers=[]))
    return [group for group in found if group is not None]


def _graph(module: nn.Module, example: Tensor) -> tuple[Any, nn.Module]:
    """Return the graph, and the copy that it is of: tracing follows gradients."""
    try:
        import torch_pruning  # slow to import, and only this step needs it
    except ImportError as error:
        raise ShrinkError(
            "channels: expected torch-pruning, which is not installed: pip install fedcomp[edge]"
        ) from error
    traced = copy.deepcopy(module).eval().requires_grad_(True)
    with torch.enable_grad():
        graph = torch_pruning.DependencyGraph().build_dependency(
            traced,
            example,
            forward_fn=lambda model, rows: model(rows) * 1.0,  # an end of its own: else the last layer passes for one
            customized_pruners={},  # explicit: the library's own defaults remember other models' layers
            unwrapped_parameters=[],
            ignored_layers=[],
            verbose=False,
        )
    return graph, traced


def _group(graph: Any, found: Any, names: dict[nn.Module, str]) -> Group | None:
    """Return what Torch-Pruning found in our words; None if it must not be cut."""
    from torch_pruning.ops import _OutputOp

    pieces: list[Piece] = []
    parts = [1]
    for item in found:
        layer = item.dep.target.module
        if isinstance(layer, _OutputOp | nn.Parameter):
            return None
        if layer not in names:
            continue  # an operation without weights
        if not _can_be_cut(layer):
            return None
        places, units = np.array(item.idxs, np.int64), np.array(item.root_idxs, np.int64)
        outputs = graph.is_out_channel_pruning_fn(item.dep.handler)
        pieces += (Piece(name, axis, places, units) for name, axis in _tensors(layer, names[layer], outputs))
        parts += [layer.num_groups] if isinstance(layer, nn.GroupNorm) else []
    root = found[0].dep.target.module
    return Group(names[root], len(found[0].idxs), tuple(pieces), int(np.lcm.reduce(parts)))


def _can_be_cut(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return layer.groups == 1 or is_depthwise(layer)
    weightless = not any(True for _ in layer.parameters(recurse=False))
    return weightless or kind_of(layer) is not None


def _tensors(layer: nn.Module, name: str, outputs: bool) -> Iterator[tuple[str, int]]:
    """Yield names of tensors and the axis along which channels lie that the layer puts out, or takes in."""
    prefix = f"{name}." if name else ""
    each = is_depthwise(layer) or isinstance(layer, _NORMS)  # a channel in is that channel out
    if isinstance(layer, nn.LayerNorm | nn.Embedding):
        axes = {"weight": -1, "bias": -1}
    elif outputs or each:
        axes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), 0)
    else:
        axes = {"weight": 1}
    for tensor, axis in axes.items():
        value = getattr(layer, tensor, None)
        if value is not None:
            yield prefix + tensor, axis % value.ndim
