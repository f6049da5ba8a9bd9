"""A fixed Morlet scattering transform: image features that are not learnt and so cost no privacy budget.

J. Bruna and S. Mallat, *Invariant Scattering Convolution Networks* (2013) describe the transform; F. Tramer and
D. Boneh, *Differentially Private Learning Needs Better Features* (2021) use it, with group normalisation, under DP-SGD.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedcomp.threads import single_thread

IMAGE_SIZE = 28
NUM_FEATURES = 81 * 7 * 7

_PADDED = 32
_PAD = (_PADDED - IMAGE_SIZE) // 2
_ANGLES = 8
_GROUPS = 27
_EPSILON = 1e-5
_BATCH = 100  # its largest intermediate, 64 maps an image, then fits the processor's cache


def scattering_features(images: NDArray[Any]) -> NDArray[np.float16]:
    """Return normalised scattering coefficients of ``images [n, 1, 28, 28]`` as float16 ``[n, 3969]``.

    Two scales, eight angles, orders 0 to 2: 81 channels of 7x7. Each image's channels are then normalised in 27 groups
    of three to mean 0 and variance 1, from this image alone: no row's features depend on another row.

    Raises:
        ValueError: for images of another shape.
    """
    if images.ndim != 4 or images.shape[1:] != (1, IMAGE_SIZE, IMAGE_SIZE):
        raise ValueError(f"images must be [n, 1, {IMAGE_SIZE}, {IMAGE_SIZE}], got {list(images.shape)}")
    features = np.empty((len(images), NUM_FEATURES), dtype=np.float16)
    with torch.inference_mode(), single_thread():
        for start in range(0, len(images), _BATCH):
            batch = torch.from_numpy(np.asarray(images[start : start + _BATCH, 0], dtype=np.float32))
            features[start : start + _BATCH] = _normalised(scatter(batch)).numpy()
    return features


def scatter(images: Tensor) -> Tensor:
    """Return the scattering coefficients of ``images [n, 28, 28]`` as ``[n, 81, 7, 7]``, not normalised.

    The map does not expand distances: ``4 * |scatter(x) - scatter(y)| <= |x - y|`` for the padded images (each
    coefficient stands for 4x4 pixels).
    """
    fine, coarse = _wavelets()
    quarter = coarse / 4  # undoes what _halve multiplies, on the smallest array
    padded = torch.nn.functional.pad(images[:, None], (_PAD,) * 4, mode="reflect")
    spectrum = torch.fft.fft2(padded)
    first_fine = torch.fft.ifft2(spectrum * fine).abs()
    first_coarse = torch.fft.ifft2(_halve(spectrum * quarter)).abs()
    # Second order: only from the fine to the coarse scale; the other way round there is next to no energy left.
    spectra = torch.fft.fft2(first_fine)
    second = [torch.fft.ifft2(_halve(spectra * wavelet)).abs() for wavelet in quarter]
    paths = torch.stack(second, dim=2).flatten(1, 2)
    return torch.cat([_lowpass(maps) for maps in (padded, first_fine, first_coarse, paths)], dim=1)


def _halve(spectrum: Tensor) -> Tensor:
    """Return the spectrum, times 4, of every second pixel in both directions: the frequencies fold onto each other."""
    half = _PADDED // 2
    rows = spectrum[..., :half, :] + spectrum[..., half:, :]
    return rows[..., :half] + rows[..., half:]


def _lowpass(maps: Tensor) -> Tensor:
    """Blur ``[n, c, s, s]`` maps and sample them at the same 7x7 places, whatever their resolution."""
    blur = _blur(maps.shape[-1])
    return blur @ maps @ blur.T


def _normalised(coefficients: Tensor) -> Tensor:
    return torch.nn.functional.group_norm(coefficients, _GROUPS, eps=_EPSILON).flatten(1)


@cache
def _wavelets() -> tuple[Tensor, Tensor]:
    """Return the Morlet filters of scale 0 and 1 as real spectra ``[8, 32, 32]``.

    Scaled so that wavelets and blur together amplify no frequency (Littlewood-Paley sum at most 1).
    """
    angles = np.arange(_ANGLES) * np.pi / _ANGLES
    bank = np.array([[_morlet(0.8 * 2**j, 0.75 * np.pi / 2**j, angle) for angle in angles] for j in range(2)])
    mirrored = np.roll(bank[..., ::-1, ::-1], 1, axis=(-2, -1))
    energy = (bank**2 + mirrored**2).sum(axis=(0, 1)) / 2
    line = np.fft.fft(_gaussian(_PADDED)).real
    room = 1 - np.outer(line, line) ** 2
    scale = np.sqrt(np.min(room[energy > 0] / energy[energy > 0]))
    fine, coarse = torch.from_numpy((bank * scale).astype(np.float32))
    return fine, coarse


def _morlet(width: float, frequency: float, angle: float) -> NDArray[np.float64]:
    """Return the spectrum of one Morlet wavelet: a bump around ``frequency`` less what makes its mean zero."""
    aliases = 2 * np.pi * np.arange(-2, 3)
    line = 2 * np.pi * np.fft.fftfreq(_PADDED)
    vertical = line[:, None, None, None] + aliases[None, None, :, None]
    horizontal = line[None, :, None, None] + aliases[None, None, None, :]
    along = np.cos(angle) * horizontal + np.sin(angle) * vertical
    across = (np.cos(angle) * vertical - np.sin(angle) * horizontal) * _ANGLES / 4

    def bump(centre: float) -> NDArray[np.float64]:
        decay = np.exp(-(width**2) * ((along - centre) ** 2 + across**2) / 2)
        return np.asarray(decay.sum(axis=(2, 3)))

    carrier, envelope = bump(frequency), bump(0.0)
    spectrum: NDArray[np.float64] = carrier - envelope * (carrier[0, 0] / envelope[0, 0])
    spectrum[0, 0] = 0.0  # exactly: a blank image has no texture
    return spectrum


@cache
def _blur(size: int) -> Tensor:
    """Return the matrix ``[7, size]`` that blurs a line of ``size`` pixels and samples every fourth fine pixel."""
    step = size // 8
    kernel = _gaussian(size)
    rows = [np.roll(kernel, step * place) for place in range(1, 8)]
    return torch.from_numpy(np.array(rows, dtype=np.float32))


def _gaussian(size: int) -> NDArray[np.float64]:
    """Return the periodic blur kernel around pixel 0, of sum 1 and 1.6 fine pixels wide, on ``size`` pixels."""
    pixels = np.arange(size)[:, None] * (_PADDED / size) + _PADDED * np.arange(-2, 3)
    kernel = np.exp(-(pixels**2) / (2 * 1.6**2)).sum(axis=1)
    return np.asarray(kernel / kernel.sum())
