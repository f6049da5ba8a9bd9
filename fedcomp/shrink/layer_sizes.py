"""Sizes of layers: which attributes state them, and the shapes of tensors that follow from them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Sizes = dict[str, int]
_Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class LayerKind:
    """A kind of layer: the attributes that state its sizes, and functions between them and its tensors' shapes.

    ``shapes`` of tensors by their names in the layer, missing ones (no bias) included; ``sizes`` the other way round.
    """

    types: tuple[type[nn.Module], ...]
    attributes: tuple[str, ...]
    shapes: Callable[[Any, Mapping[str, int]], _Shapes]
    sizes: Callable[[Any], Sizes]

    def read(self, layer: nn.Module) -> Sizes:
        """Return the layer's sizes as its attributes state them."""
        values = {name: getattr(layer, name) for name in self.attributes}
        return {name: int(value[-1] if isinstance(value, tuple) else value) for name, value in values.items()}

    def refit(self, layer: nn.Module) -> None:
        """Make the attributes state what the tensors have come to be."""
        _state(layer, self.sizes(layer))

    def resize(self, layer: nn.Module, sizes: Mapping[str, int]) -> None:
        """Give the layer these sizes, its tensors zeros of the new shapes, in place."""
        shapes = self.shapes(layer, sizes)
        _state(layer, sizes)
        for name, shape in shapes.items():
            old = getattr(layer, name, None)
            if isinstance(old, nn.Parameter):
                setattr(layer, name, nn.Parameter(old.new_zeros(shape), requires_grad=old.requires_grad))
            elif isinstance(old, torch.Tensor):
                setattr(layer, name, old.new_zeros(shape))


def kind_of(layer: nn.Module) -> LayerKind | None:
    """Return the kind of a layer, None for one that has no sizes of its own."""
    return next((kind for kind in _KINDS if isinstance(layer, kind.types)), None)


def is_depthwise(layer: nn.Module) -> bool:
    """Return whether the layer is a convolution that filters each channel apart."""
    return (
        isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and layer.groups == layer.in_channels == layer.out_channels > 1
    )


def _state(layer: Any, sizes: Mapping[str, int]) -> None:
    for name, value in sizes.items():
        old = getattr(layer, name)  # of LayerNorm, a tuple
        setattr(layer, name, (*old[:-1], value) if isinstance(old, tuple) else value)


def _convolution_shapes(layer: Any, sizes: Mapping[str, int]) -> _Shapes:
    inputs = sizes["in_channels"] // sizes["groups"]
    return {
        "weight": (sizes["out_channels"], inputs, *layer.kernel_size),
        "bias": (sizes["out_channels"],),
    }


def _convolution_sizes(layer: Any) -> Sizes:
    outputs, inputs = layer.weight.shape[:2]
    groups = outputs if is_depthwise(layer) else layer.groups
    return {"in_channels": inputs * groups, "out_channels": outputs, "groups": groups}


def _channel_shapes(count: str) -> Callable[[Any, Mapping[str, int]], _Shapes]:
    names = ("weight", "bias", "running_mean", "running_var")
    return lambda layer, sizes: dict.fromkeys(names, (sizes[count],))


def _norm_sizes(layer: Any) -> Sizes:
    return {} if layer.weight is None else {"num_features": len(layer.weight)}


def _group_norm_sizes(layer: Any) -> Sizes:
    return {} if layer.weight is None else {"num_channels": len(layer.weight), "num_groups": layer.num_groups}


def _recurrent_shapes(layer: Any, sizes: Mapping[str, int]) -> _Shapes:
    hidden, directions = sizes["hidden_size"], 2 if layer.bidirectional else 1
    gates = layer.weight_hh_l0.shape[0] // layer.weight_hh_l0.shape[1]
    shapes: _Shapes = {}
    for number in range(layer.num_layers):
        inputs = sizes["input_size"] if number == 0 else directions * hidden
        for end in ("", "_reverse")[:directions]:
            shapes[f"weight_ih_l{number}{end}"] = (gates * hidden, inputs)
            shapes[f"weight_hh_l{number}{end}"] = (gates * hidden, hidden)
            for bias in ("bias_ih", "bias_hh"):
                shapes[f"{bias}_l{number}{end}"] = (gates * hidden,)
    return shapes


_KINDS = (
    LayerKind(
        (nn.Linear,),
        ("in_features", "out_features"),
        lambda layer, s: {"weight": (s["out_features"], s["in_features"]), "bias": (s["out_features"],)},
        lambda layer: {"in_features": layer.weight.shape[1], "out_features": layer.weight.shape[0]},
    ),
    LayerKind(
        (nn.Conv1d, nn.Conv2d, nn.Conv3d),
        ("in_channels", "out_channels", "groups"),
        _convolution_shapes,
        _convolution_sizes,
    ),
    LayerKind(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d),
        ("num_features",),
        _channel_shapes("num_features"),
        _norm_sizes,
    ),
    LayerKind((nn.GroupNorm,), ("num_channels", "num_groups"), _channel_shapes("num_channels"), _group_norm_sizes),
    LayerKind(
        (nn.LayerNorm,),
        ("normalized_shape",),
        lambda layer, s: dict.fromkeys(("weight", "bias"), (*layer.normalized_shape[:-1], s["normalized_shape"])),
        lambda layer: {} if layer.weight is None else {"normalized_shape": layer.weight.shape[-1]},
    ),
    LayerKind(
        (nn.Embedding,),
        ("num_embeddings", "embedding_dim"),
        lambda layer, s: {"weight": (s["num_embeddings"], s["embedding_dim"])},
        lambda layer: {"num_embeddings": layer.weight.shape[0], "embedding_dim": layer.weight.shape[1]},
    ),
    LayerKind(
        (nn.GRU, nn.LSTM),
        ("input_size", "hidden_size"),
        _recurrent_shapes,
        lambda layer: {"input_size": layer.weight_ih_l0.shape[1], "hidden_size": layer.weight_hh_l0.shape[1]},
    ),
)
"""Every kind of layer that steps can make smaller, or that follows one that they do."""
