"""Whole numbers of 8 bits for weights and activations, as integer kernels want them; numpy only.

Weights are signed and symmetric with a scale a channel, activations unsigned with one scale and zero point a tensor
(Jacob et al.: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018).
Unsigned times signed is what x86 multiplies in one instruction; with signed activations ONNX Runtime is slower than at
fp32 there. Without VNNI that instruction adds two products in 16 bits and saturates: outputs of whole layers were off
by a third. So weights in products keep to 7 bits, -63..63, and 2 * 255 * 63 fits: a file is right on every machine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_FACTOR = 63
"""The largest weight in a product; see this file's first lines."""
_LARGEST_BIAS = 2.0**30  # half of int32, so that the sum it is added to has room


def signed_channels(
    weights: NDArray[np.float32],
    axis: int,
    floor: NDArray[Any] | float = 0.0,
    largest: int = LARGEST_FACTOR,
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 weights in -largest..largest and the scales ``[channels]`` of ``axis`` that turn them back.

    ``floor``: the smallest scales allowed. ``largest``: 127 for what is looked up and not multiplied. A channel of
    zeros has scale 1 where the floor is zero, too.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scales = np.maximum(np.abs(weights).max(axis=others, initial=0.0) / largest, floor).astype(np.float32)
    scales = np.where(scales > np.finfo(np.float32).tiny, scales, np.float32(1))
    shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
    return np.rint(weights / scales.reshape(shape)).clip(-largest, largest).astype(np.int8), scales


def unsigned_range(low: float, high: float) -> tuple[np.float32, np.uint8]:
    """Return scale and zero point of uint8 values that reach from ``low`` to ``high`` and hold zero exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / 255)
    if not scale > np.finfo(np.float32).tiny:
        return np.float32(1), np.uint8(0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))


def bias_floor(bias: NDArray[np.float32], input_scale: np.float32) -> NDArray[np.float64]:
    """Return the smallest scales of weights at which each bias still fits int32 in steps of input times weight scale.

    A channel whose weights are (nearly) zero would otherwise lose its bias.
    """
    return np.abs(bias.astype(np.float64)) / (float(input_scale) * _LARGEST_BIAS)
