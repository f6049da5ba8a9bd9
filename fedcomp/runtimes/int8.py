"""Whole numbers of 8 bits for weights and activations, as integer kernels want them; numpy only.

Weights are signed and symmetric with a scale a channel, activations unsigned with one scale and zero point a tensor
(Jacob et al.: Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference, 2018).
Unsigned times signed is what x86 multiplies in one instruction; with signed activations ONNX Runtime is slower than at
fp32 there. On x86 without VNNI that instruction saturates, and outputs may be off: ``relative_error`` tells.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LARGEST_BIAS = 2.0**30  # half of int32, so that the sum it is added to has room


def signed_channels(
    weights: NDArray[np.float32], axis: int, floor: NDArray[Any] | float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return int8 weights in -127..127 and the scales ``[channels]`` of ``axis`` that turn them back.

    ``floor``: the smallest scales allowed. A channel of zeros has scale 1 where the floor is zero, too.
    """
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scales = np.maximum(np.abs(weights).max(axis=others, initial=0.0) / 127, floor).astype(np.float32)
    scales = np.where(scales > np.finfo(np.float32).tiny, scales, np.float32(1))
    shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
    return np.rint(weights / scales.reshape(shape)).clip(-127, 127).astype(np.int8), scales


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
