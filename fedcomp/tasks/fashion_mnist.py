"""Fashion-MNIST, pictures of ten kinds of clothing, as three tasks: a linear head on many or few features, and a CNN.

H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*
(2017).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.errors import DataError
from fedcomp.tasks.base import Split, Task, rows_digest
from fedcomp.tasks.features import cached_features
from fedcomp.tasks.fetch import DebianData, fetch, locate
from fedcomp.tasks.idx import read_idx
from fedcomp.tasks.pooled import NUM_POOLED, pooled_features
from fedcomp.tasks.scattering import IMAGE_SIZE, NUM_FEATURES, scattering_features

_PARTS = {"train": "train", "test": "t10k"}
_DATA = DebianData(
    package="dataset-fashion-mnist",
    directory="/usr/share/datasets/fashion-mnist",
    files=tuple(f"{part}-{kind}-ubyte.gz" for part in _PARTS.values() for kind in ("images-idx3", "labels-idx1")),
)
_CLASSES = 10


@dataclass(frozen=True)
class _Features:
    """A fixed transform of images ``[n, 1, 28, 28]`` in [0, 1]; its name is that of the cache, and tells versions."""

    name: str
    width: int
    transform: Callable[[NDArray[Any]], NDArray[np.float16]]


_FEATURES = {
    "linear": _Features("scattering-j2-l8-v1", NUM_FEATURES, scattering_features),
    "pooled": _Features("scattering-pooled-3-v1", NUM_POOLED, pooled_features),
}


class FashionMnist(Task):
    """60,000 training and 10,000 test images ``[1, 28, 28]`` in [-1, 1]; the pixels' scaling is a constant, not learnt.

    With ``head="linear"`` the inputs are 3,969 scattering features and the model is one linear layer, which is what
    differential privacy of examples can afford; with ``head="pooled"`` they are 729 features, for privacy of whole
    clients, whose noise a longer update would drown in (see ``fedcomp.tasks.pooled``); with ``head="cnn"`` they are
    the images and the model is a small CNN. The student eats images in all three.

    Raises:
        DataError: if the files are nowhere on this machine (and, with ``download``, cannot be fetched into the user's
            cache either), or on first use of the rows if a file is damaged.
    """

    num_classes = _CLASSES

    def __init__(self, head: Literal["linear", "pooled", "cnn"], download: bool = False) -> None:
        self.name = {"linear": "fashion-mnist-scattering"}.get(head, f"fashion-mnist-{head}")
        self._features = _FEATURES.get(head)
        self._directory = (fetch if download else locate)(_DATA)

    def network(self) -> nn.Module:
        """Return the model that is federated: 39,700 (``linear``), 7,300 (``pooled``) or 63,882 parameters."""
        return _cnn() if self._features is None else _linear_head(self._features.width)

    def student_network(self) -> nn.Module:
        """Return a CNN over images."""
        return _student()

    def train(self) -> Split:
        """Return the 60,000 training rows; the first call on a machine computes and keeps their features."""
        return self._train

    def test(self) -> Split:
        """Return the 10,000 test rows; the first call on a machine computes and keeps their features."""
        return self._test

    def features(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return ``[n, 3969]`` or ``[n, 729]`` features of images ``[n, 1, 28, 28]``, or the images for the CNN."""
        return raw if self._features is None else self._features.transform((raw + 1) / 2)

    def dataset_id(self) -> str:
        """Return the digest of the training images and labels, the same for all three tasks."""
        return self._identity

    @cached_property
    def _train(self) -> Split:
        return self._split("train")

    @cached_property
    def _test(self) -> Split:
        return self._split("test")

    @cached_property
    def _identity(self) -> str:
        return f"fashion-mnist:{rows_digest(*_read(self._directory, 'train'))}"

    def _split(self, part: str) -> Split:
        pixels, labels = _read(self._directory, part)
        images = (pixels / np.float32(127.5) - 1).astype(np.float32)
        inputs: NDArray[Any] = images
        if self._features is not None:
            inputs = cached_features(self._features.name, images, self.features, self._features.width)
        return Split(inputs, labels.astype(np.int64), images)


def _read(directory: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pixels ``[n, 1, 28, 28]`` and labels ``[n]`` of one part, checked against each other."""
    paths = [directory / f"{_PARTS[part]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    pixels = read_idx(paths[0], (None, IMAGE_SIZE, IMAGE_SIZE))
    labels = read_idx(paths[1], (len(pixels),))
    if labels.max() >= _CLASSES:
        raise DataError(f"{paths[1]}: expected labels in 0..{_CLASSES - 1}, got {labels.max()}")
    return pixels[:, None], labels


def _linear_head(width: int) -> nn.Module:
    head = nn.Linear(width, _CLASSES)
    nn.init.zeros_(head.weight)  # convex: random weights would only be noise that the first rounds have to undo
    nn.init.zeros_(head.bias)
    return head


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.GroupNorm(8, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 32),
        nn.ReLU(),
        nn.Linear(32, _CLASSES),
    )


def _student() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, stride=2),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GroupNorm(8, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, _CLASSES),
    )
