"""A linear layer or convolution as two smaller ones, one after the other."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


class Factored(nn.Module):
    """What a dense layer does, through ``rank`` values: ``first`` makes them, ``second`` reads them.

    Has the attributes that others read of the dense layer: its sizes, and ``weight``, which is multiplied out when it
    is asked for.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    @property
    def rank(self) -> int:
        """The number of values between both layers."""
        return int(cast("Tensor", self.second.weight).shape[1])

    @property
    def weight(self) -> Tensor:
        """The weight of the dense layer that computes the same."""
        first, second = (cast("Tensor", layer.weight) for layer in (self.first, self.second))
        return (second.flatten(1) @ first.flatten(1)).reshape(len(second), *first.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        """The bias, which the second layer adds."""
        return cast("Tensor | None", self.second.bias)

    def forward(self, values: Tensor) -> Tensor:
        """Return what the dense layer would return."""
        result: Tensor = self.second(self.first(values))
        return result

    def __getattr__(self, name: str) -> Any:
        """Return the sizes of the dense layer: of what comes in from the first, of what goes out from the second."""
        if name in ("in_features", "in_channels"):
            return getattr(self.first, name)
        if name in ("out_features", "out_channels"):
            return getattr(self.second, name)
        return super().__getattr__(name)


def factored_like(layer: nn.Linear | Convolution, rank: int) -> Factored:
    """Return two layers of zeros that stand in for ``layer``: the first keeps kernel, stride and padding.

    Not for convolutions of several groups. Zhang, Zou, He and Sun, *Accelerating Very Deep Convolutional Networks for
    Classification and Detection* (2015): the channels of a convolution are a mixture of a few.
    """
    place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return Factored(
            _zeros(nn.Linear, layer.in_features, rank, bias=False, **place),
            _zeros(nn.Linear, rank, layer.out_features, bias=bias, **place),
        )
    names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
    options = {name: getattr(layer, name) for name in names}
    return Factored(
        _zeros(type(layer), layer.in_channels, rank, bias=False, **options, **place),
        _zeros(type(layer), rank, layer.out_channels, 1, bias=bias, **place),
    )


def _zeros(make: Callable[..., nn.Module], *sizes: int, **options: Any) -> nn.Module:
    """Return a layer without drawing from torch's global generator, as its own start would."""
    device = options.pop("device")
    layer = make(*sizes, **options, device="meta").to_empty(device=device)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    return layer
