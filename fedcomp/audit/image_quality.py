"""How near one picture comes to another: peak signal-to-noise ratio and structural similarity."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SMALLEST_SIDE = 7
"""Pixels a side from which on ``ssim`` has a window to look through."""

MOST_DECIBELS = 120.0
"""What ``psnr`` gives equal pictures: a finite number, so that JSON can hold it."""

_WINDOW, _DEVIATION = 11, 1.5
_K1, _K2 = 0.01, 0.03


def psnr(original: NDArray[Any], reconstruction: NDArray[Any], data_range: float = 1.0) -> float:
    """Return the peak signal-to-noise ratio in dB, at most 120: ``10 log10(data_range**2 / mean squared error)``.

    Above 30 dB eyes see little difference; guessing grey gives 8 to 12 dB.

    Raises:
        ValueError: for unequal shapes, no values, or a range that is not positive.
    """
    first, second = _pair(original, reconstruction, data_range)
    error = float(((first - second) ** 2).mean()) / data_range**2
    return MOST_DECIBELS if error == 0 else min(MOST_DECIBELS, -10 * math.log10(error))


def ssim(original: NDArray[Any], reconstruction: NDArray[Any], data_range: float = 1.0) -> float:
    """Return the mean structural similarity of two pictures ``[..., h, w]``, in [-1, 1]; 1 for equal ones.

    Wang, Bovik, Sheikh and Simoncelli, *Image quality assessment: from error visibility to structural similarity*
    (2004): a Gaussian window of deviation 1.5, 11 pixels wide or as wide as the picture allows, wherever it fits.
    Leading axes (channels) are averaged.

    Raises:
        ValueError: for unequal shapes, a side below 7 pixels, or a range that is not positive.
    """
    first, second = _pair(original, reconstruction, data_range)
    if first.ndim < 2 or min(first.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"pictures must be [..., h, w] of at least 7 pixels a side, got {list(first.shape)}")
    width = min(_WINDOW, *(side - (side + 1) % 2 for side in first.shape[-2:]))
    mean_1, mean_2 = _smooth(first, width), _smooth(second, width)
    variance_1 = _smooth(first**2, width) - mean_1**2
    variance_2 = _smooth(second**2, width) - mean_2**2
    covariance = _smooth(first * second, width) - mean_1 * mean_2
    steady, contrast = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    likeness = (2 * mean_1 * mean_2 + steady) * (2 * covariance + contrast)
    return float((likeness / ((mean_1**2 + mean_2**2 + steady) * (variance_1 + variance_2 + contrast))).mean())


def _smooth(picture: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Average under the window, for the places where it lies inside the picture."""
    half = width // 2
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / _DEVIATION) ** 2)
    weights /= weights.sum()
    smoothed = ndimage.correlate1d(ndimage.correlate1d(picture, weights, axis=-1), weights, axis=-2)
    height, breadth = picture.shape[-2:]
    return np.asarray(smoothed[..., half : height - half, half : breadth - half])


def _pair(
    original: NDArray[Any], reconstruction: NDArray[Any], data_range: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.asarray(original, np.float64), np.asarray(reconstruction, np.float64)
    if first.shape != second.shape or not first.size:
        raise ValueError(f"both must have values of one shape, got {list(first.shape)} and {list(second.shape)}")
    if not data_range > 0:
        raise ValueError(f"data_range must be above 0, got {data_range}")
    return first, second
