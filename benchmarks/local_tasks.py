"""The tasks of ``benchmarks.local_mode``: Fashion-MNIST's linear head, cut before the noise in one of several ways.

A cut is named ``KIND_NUMBER``, and the task of that name is ``benchmarks.local_tasks:KIND_NUMBER``:

============== ======================================================================================
uncut          the demo's head: 3,969 scattering features, 10 classes, a bias
projection_N   a head on 3969 / N random directions of the features
subset_N       a head on 3969 / N of the features: a mask of trained columns, the same in every round
pooling_S      a head on the features' means over S x S windows: 81 S**2 of them
rank_R         ``U V`` with U (10 x R) random, public and frozen: V (R x 3969) and its bias are trained
moving_N       3969 / N columns are trained in each round, which ones follows from the released model
after_N        nothing is cut before the noise: each client sends 1 / N of its noised values, drawn anew
============== ======================================================================================
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.local_cuts import MAPS, Map, cut, pooling, projection, subset
from benchmarks.local_mask import MovingColumns, MovingHead
from fedcomp.rng import stream
from fedcomp.tasks import Split, Task
from fedcomp.tasks.fashion_mnist import FashionMnist
from fedcomp.tasks.scattering import NUM_FEATURES

CLASSES = 10
UNCUT = CLASSES * (NUM_FEATURES + 1)
"""Parameters of the head that is not cut."""


@dataclass(frozen=True)
class Cut:
    """One way to train fewer values.

    ``share`` is how many of ``UNCUT`` values are trained in a round and travel. ``clip`` and ``step`` multiply the
    bound on gradients and the learning rate of the uncut run; ``stages`` come before the codec of updates.
    """

    network: Callable[[], nn.Module]
    share: float = 1.0
    mapped: Map | None = None
    clip: float = 1.0
    step: float = 1.0
    stages: list[dict[str, Any]] = field(default_factory=list)


class CutTask(FashionMnist):
    """Fashion-MNIST with the features and the head of one cut."""

    def __init__(self, name: str, cut: Cut) -> None:
        super().__init__("linear", download=True)
        self.name = name
        self._cut = cut

    def network(self) -> nn.Module:
        """Return the model that is federated."""
        return self._cut.network()

    def train(self) -> Split:
        """Return the 60,000 training rows, with the features that are left."""
        return self._cut_train

    def test(self) -> Split:
        """Return the 10,000 test rows, with the features that are left."""
        return self._cut_test

    def features(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the features that are left of images ``[n, 1, 28, 28]``."""
        return self._fewer(super().features(raw))

    @cached_property
    def _cut_train(self) -> Split:
        return self._split_of(super().train())

    @cached_property
    def _cut_test(self) -> Split:
        return self._split_of(super().test())

    def _split_of(self, split: Split) -> Split:
        return Split(self._fewer(split.inputs), split.targets, split.raw)

    def _fewer(self, inputs: NDArray[Any]) -> NDArray[Any]:
        return inputs if self._cut.mapped is None else cut(inputs, self._cut.mapped)


def make_cut(name: str) -> Cut:
    """Return the cut of a name; raises ``ValueError`` for one that there is not."""
    kind, _, number = name.partition("_")
    if kind == "uncut" and not number:
        return Cut(partial(_head, NUM_FEATURES))
    if kind not in _KINDS or not number.isdigit() or not int(number):
        raise ValueError(f"cut must be uncut or one of {', '.join(_KINDS)} with _NUMBER, got {name!r}")
    return _KINDS[kind](int(number))


def __getattr__(name: str) -> Callable[[], Task]:
    try:
        found = make_cut(name)
    except ValueError as error:
        raise AttributeError(str(error)) from None
    return lambda: CutTask(name, found)


def _of_features(mapped: Map, count: int) -> Cut:
    return Cut(partial(_head, count), CLASSES * (count + 1) / UNCUT, mapped)


def _projection(ratio: int) -> Cut:
    count = round(NUM_FEATURES / ratio)
    return _of_features(projection(count), count)


def _subset(ratio: int) -> Cut:
    count = round(NUM_FEATURES / ratio)
    return _of_features(subset(count), count)


def _pooling(side: int) -> Cut:
    return _of_features(pooling(side), MAPS * side**2)


def _rank(rank: int) -> Cut:
    return Cut(lambda: nn.Sequential(_head(NUM_FEATURES, rank), _mixer(rank)), rank / CLASSES)


def _moving(ratio: int) -> Cut:
    """A gradient has about 1 / ratio of its energy under the mask: the bound follows it, and the step makes up for it.

    The noise on a coordinate, over many rounds, is then that of the uncut run: only the drawing of columns is added.
    """
    density = 1 / ratio
    stage = MovingColumns(density).config()
    share = CLASSES * round(NUM_FEATURES * density) / UNCUT
    network = partial(MovingHead, NUM_FEATURES, CLASSES, density)
    return Cut(network, share, clip=density**0.5, step=float(ratio), stages=[stage])


def _after(ratio: int) -> Cut:
    stage = {"id": "random-mask", "density": 1 / ratio}
    return Cut(partial(_head, NUM_FEATURES), stages=[stage])


_KINDS: dict[str, Callable[[int], Cut]] = {
    "projection": _projection,
    "subset": _subset,
    "pooling": _pooling,
    "rank": _rank,
    "moving": _moving,
    "after": _after,
}


def _head(features: int, outputs: int = CLASSES) -> nn.Linear:
    head = nn.Linear(features, outputs)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def _mixer(rank: int) -> nn.Linear:
    """Return the frozen U: a row a class, all of one length, in about orthogonal columns of one length.

    A class whose row were shorter, inside of the hull of the others, could never have the largest output. The length
    is such that a gradient is as long after U as before, on average.
    """
    if rank >= CLASSES:
        raise ValueError(f"rank must be less than {CLASSES}, got {rank}")
    rows = stream(0, "local mode", "rank").standard_normal((CLASSES, rank))
    for _ in range(100):
        left, _values, right = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        rows = left @ right
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mixer = nn.Linear(rank, CLASSES, bias=False)
    with torch.no_grad():
        mixer.weight.copy_(torch.from_numpy(rows * np.sqrt((CLASSES - 1) / CLASSES)))
    return mixer.requires_grad_(False)
