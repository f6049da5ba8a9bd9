"""Scattering features in few dimensions, for privacy of whole clients: pooled to 3x3 places and whitened, not learnt.

Noise of differential privacy grows with the dimension, so a client's update should be short; and it leaves few rounds,
so the features should be alike in scale. What whitens them is the covariance of pink noise, whose spectrum is about
that of natural images (D. J. Field, *Relations between the Statistics of Natural Images and the Response Properties of
Cortical Cells*, 1987): made-up images, which cost no privacy budget.
"""

import math
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedcomp.rng import stream
from fedcomp.tasks.scattering import IMAGE_SIZE, scattering_features
from fedcomp.threads import single_thread

_SIDE = 3
_CHANNELS = 81
NUM_POOLED = _CHANNELS * _SIDE**2

_PLACES = 7
_GROUPS = 27
_EPSILON = 1e-5
_NOISE_IMAGES = 4000  # some five for each dimension of the covariance
_RIDGE = 0.01  # of its largest eigenvalue: directions that noise hardly has are not blown up
_BATCH = 2000


def pooled_features(images: NDArray[Any]) -> NDArray[np.float16]:
    """Return whitened, pooled scattering features of ``images [n, 1, 28, 28]`` in [0, 1] as float16 ``[n, 729]``.

    The 7x7 places of each of the 81 channels are averaged over 3x3 windows that overlap by one place (0-2, 2-4, 4-6);
    the channels are normalised in groups of three, as before pooling; a fixed matrix whitens; and each row is brought
    to length 27, so that its values have mean square 1. No row's features depend on another row.

    Raises:
        ValueError: for images of another shape.
    """
    features = np.empty((len(images), NUM_POOLED), dtype=np.float16)
    for start in range(0, len(images), _BATCH):
        with single_thread():
            rows = _pooled(images[start : start + _BATCH])
            centre, matrix = _whitening()
            features[start : start + _BATCH] = _of_one_length((rows - centre) @ matrix).numpy()
    return features


def _pooled(images: NDArray[Any]) -> Tensor:
    maps = torch.from_numpy(scattering_features(images).astype(np.float32)).view(-1, _CHANNELS, _PLACES, _PLACES)
    windows = torch.nn.functional.avg_pool2d(maps, kernel_size=3, stride=2)
    return torch.nn.functional.group_norm(windows, _GROUPS, eps=_EPSILON).flatten(1)


def _of_one_length(rows: Tensor) -> Tensor:
    unit: Tensor = torch.nn.functional.normalize(rows, dim=1)
    return unit.mul(math.sqrt(NUM_POOLED))


@cache
def _whitening() -> tuple[Tensor, Tensor]:
    """Return the mean ``[729]`` of pink noise's features, and the inverse root ``[729, 729]`` of their covariance.

    The symmetric root: unlike the eigenvectors themselves it does not jump where machines differ in their last bits.
    """
    rows = _pooled(_pink_noise(_NOISE_IMAGES)).double()
    centre = rows.mean(dim=0)
    values, vectors = torch.linalg.eigh((rows - centre).T @ (rows - centre) / len(rows))
    matrix = (vectors * (values + _RIDGE * values.max()) ** -0.5) @ vectors.T
    return centre.float(), matrix.float()


def _pink_noise(count: int) -> NDArray[np.float32]:
    """Return made-up images ``[count, 1, 28, 28]`` in [0, 1] whose amplitudes fall as 1 / frequency."""
    line = np.fft.fftfreq(IMAGE_SIZE)
    frequency = np.maximum(np.hypot(line[:, None], line), 1 / IMAGE_SIZE)
    white = stream(0, "pooled features", "noise").standard_normal((count, IMAGE_SIZE, IMAGE_SIZE))
    pink = np.fft.ifft2(np.fft.fft2(white) / frequency).real
    pink -= pink.mean(axis=(1, 2), keepdims=True)
    pink /= pink.std(axis=(1, 2), keepdims=True)
    return np.asarray(np.clip(0.4 + 0.25 * pink, 0, 1)[:, None], dtype=np.float32)
