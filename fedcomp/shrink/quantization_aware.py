"""Quantization-aware training: a module learns to answer well with the weights and activations that int8 leaves it.

Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam and Kalenichenko, *Quantization and training of neural networks for
efficient integer-arithmetic-only inference* (2018). Rounding has no gradient, so the way back takes it for the
identity inside of the range, and for a constant outside (straight through).
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.distillation.lesson import prepare
from fedcomp.shrink.distillation.recover import Distil, learn

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class QuantizationAware(Distil):
    """Distil with rounded weights and activations, and return the plain module, whose weights sit on the grid.

    Which layers, which grids: see ``rounded``. Rounding the weights again to as many bits, symmetric with a scale a
    channel, changes none of them: our int8 files take 7 bits (``fedcomp.runtimes.int8``), ExecuTorch's 8. Ranges of
    activations are thrown away: a runtime measures its own.

    It reads rows to learn as well as to find ranges, and says so as ``Distil`` does.
    """

    id = "quantization-aware"
    epochs: int = 10
    learning_rate: float = 5e-4
    weight_bits: int = 8
    activation_bits: int = 8
    range_momentum: float = 0.95
    """Share of an activation's range that a batch leaves as it was, in [0, 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weight_bits", "activation_bits"):
            if not 2 <= getattr(self, name) <= 8:
                raise ValueError(f"{name} must be in 2..8, got {getattr(self, name)}")
        if not 0 <= self.range_momentum < 1:
            raise ValueError(f"range_momentum must be in [0, 1), got {self.range_momentum}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a trained copy.

        Raises:
            ShrinkError: for a module without convolutions or linear layers, and as ``Distil.apply`` does.
        """
        trained = copy.deepcopy(module)
        lesson = prepare(material, self.copies, self.padding, rng)
        with rounded(trained, self.weight_bits, self.activation_bits, self.range_momentum):
            learn(trained, lesson, self, rng)
        return trained


@contextmanager
def rounded(module: nn.Module, weight_bits: int, activation_bits: int, momentum: float = 0.95) -> Iterator[None]:
    """Let ``module`` compute with rounded numbers inside of the block; afterwards its weights are the rounded ones.

    Convolutions and linear layers have weights that are signed, symmetric, with a scale a channel, of ``weight_bits``;
    what they take has ``activation_bits`` with one scale and zero point: from zero up behind a ReLU, else from the
    lowest to the highest value. In train mode ranges follow the batches by moving averages; in eval mode they stay, and
    a layer that has seen no batch takes its inputs as they are. All else stays in fp32.

    Raises:
        ShrinkError: for a module without such layers.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _LAYERS)]
    if not layers:
        raise ShrinkError("expected a module with convolutions or linear layers to round, got one without")
    handles = []
    try:
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", _WeightGrid(weight_bits))
            handles.append(layer.register_forward_pre_hook(_ActivationGrid(activation_bits, momentum)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for layer in layers:
            if parametrize.is_parametrized(layer, "weight"):
                parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


class _WeightGrid(nn.Module):
    """Weights ``[channels, ...]`` on a symmetric grid: whole multiples of a scale a channel, the largest at its end."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self._largest = 2 ** (bits - 1) - 1

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        scales = weight.detach().abs().flatten(1).amax(dim=1) / self._largest
        scales = torch.where(scales > _SMALLEST, scales, torch.ones_like(scales))
        zeros = torch.zeros(len(scales), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -self._largest, self._largest)


class _ActivationGrid:
    """A hook that rounds what a layer takes, in a range that follows the batches while the layer is trained."""

    def __init__(self, bits: int, momentum: float) -> None:
        self._largest, self._momentum = 2**bits - 1, momentum
        self._range: tuple[float, float] | None = None

    def __call__(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        values, *others = inputs
        if layer.training:
            self._follow(values)
        if self._range is None:
            return inputs
        low, high = self._range
        scale = max((high - low) / self._largest, _SMALLEST)
        zero = round(-low / scale)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, self._largest), *others

    def _follow(self, values: torch.Tensor) -> None:
        ends = values.detach().aminmax()
        low, high = min(float(ends.min), 0.0), max(float(ends.max), 0.0)  # the grid must hold zero, for padding
        if self._range is not None:
            low = self._momentum * self._range[0] + (1 - self._momentum) * low
            high = self._momentum * self._range[1] + (1 - self._momentum) * high
        self._range = low, high
