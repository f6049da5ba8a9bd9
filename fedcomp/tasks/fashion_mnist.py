"""Fashion-MNIST, pictures of ten kinds of clothing, as two tasks: scattering features with a linear head, and a CNN.

H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms*
(2017).
"""

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
from fedcomp.tasks.scattering import IMAGE_SIZE, NUM_FEATURES, scattering_features

_PARTS = {"train": "train", "test": "t10k"}
_DATA = DebianData(
    package="dataset-fashion-mnist",
    directory="/usr/share/datasets/fashion-mnist",
    files=tuple(f"{part}-{kind}-ubyte.gz" for part in _PARTS.values() for kind in ("images-idx3", "labels-idx1")),
)
_CLASSES = 10


class FashionMnist(Task):
    """60,000 training and 10,000 test images ``[1, 28, 28]`` in [-1, 1]; the pixels' scaling is a constant, not learnt.

    With ``head="linear"`` the inputs are 3,969 scattering features and the model is one linear layer, which is what
    differential privacy can afford; with ``head="cnn"`` they are the images and the model is a small CNN. The student
    eats images in both.

    Raises:
        DataError: if the files are nowhere on this machine (and, with ``download``, cannot be fetched into the user's
            cache either), or on first use of the rows if a file is damaged.
    """

    num_classes = _CLASSES

    def __init__(self, head: Literal["linear", "cnn"], download: bool = False) -> None:
        self.name = "fashion-mnist-scattering" if head == "linear" else "fashion-mnist-cnn"
        self._head = head
        self._directory = (fetch if download else locate)(_DATA)

    def network(self) -> nn.Module:
        """Return the model that is federated: 39,700 parameters (``linear``) or 63,882 (``cnn``)."""
        return _linear_head() if self._head == "linear" else _cnn()

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
        """Return scattering features ``[n, 3969]`` of images ``[n, 1, 28, 28]``, or the images for the CNN."""
        return scattering_features((raw + 1) / 2) if self._head == "linear" else raw

    def dataset_id(self) -> str:
        """Return the digest of the training images and labels, the same for both tasks."""
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
        if self._head == "linear":
            inputs = cached_features("scattering-j2-l8-v1", images, self.features, NUM_FEATURES)
        return Split(inputs, labels.astype(np.int64), images)


def _read(directory: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pixels ``[n, 1, 28, 28]`` and labels ``[n]`` of one part, checked against each other."""
    paths = [directory / f"{_PARTS[part]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    pixels = read_idx(paths[0], (None, IMAGE_SIZE, IMAGE_SIZE))
    labels = read_idx(paths[1], (len(pixels),))
    if labels.max() >= _CLASSES:
        raise DataError(f"{paths[1]}: expected labels in 0..{_CLASSES - 1}, got {labels.max()}")
    return pixels[:, None], labels


def _linear_head() -> nn.Module:
    head = nn.Linear(NUM_FEATURES, _CLASSES)
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
