"""Weight clustering: a layer's weights become a few shared values, which a file holds once, and numbers of them.

S. Han, H. Mao and W. Dally, *Deep Compression* (2016). For the file's size after entropy coding, not for speed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.shrink.base import Material, Step
from fedcomp.shrink.pruning.weights import masked_copy, prunable

_ROUNDS = 100


@dataclass(frozen=True)
class Clusters(Step):
    """Gives each tensor of weights at most ``2 ** bit_width`` different values, by k-means over its own.

    Starts from values spread evenly between the smallest weight and the largest, which Han et al. found to keep the
    large weights best. Weights that are zero stay so, 0 being one of the values: what pruning took out stays out.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "cluster"
    reads = False
    bit_width: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.bit_width <= 8:
            raise ValueError(f"bit_width must be in 1..8, got {self.bit_width}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with shared values; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without layers that have weights.
        """
        smaller = masked_copy(module, {})
        for _, weight in prunable(smaller):
            weight.data = _clustered(weight.detach(), 2**self.bit_width)
        return smaller


def codebook_sizes(module: nn.Module) -> dict[str, int]:
    """Return how many different values each tensor of weights has, by its name."""
    return {name: len(torch.unique(weight.detach())) for name, weight in prunable(module)}


def _clustered(weight: Tensor, count: int) -> Tensor:
    values = weight.double().numpy().ravel()
    zero = values == 0
    book = _book(np.sort(values[~zero]), count - bool(zero.any()))
    shared = np.where(zero, 0.0, book[_nearest(book, values)] if len(book) else 0.0)
    return torch.from_numpy(shared).to(weight.dtype).reshape(weight.shape)


def _book(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the means of at most ``count`` clusters of sorted ``values``, ascending.

    Lloyd's algorithm: on a line a cluster is a run of the sorted values, so that its sum is a difference of two.
    """
    if not len(values):
        return values
    sums = np.concatenate([[0.0], np.cumsum(values)])
    book = np.linspace(values[0], values[-1], count)
    for _ in range(_ROUNDS):
        ends = np.searchsorted(values, (book[1:] + book[:-1]) / 2)
        runs = np.unique(np.concatenate([[0], ends, [len(values)]]))  # an empty cluster leaves
        means = np.diff(sums[runs]) / np.diff(runs)
        if np.array_equal(means, book):
            break
        book = means
    return np.asarray(book)


def _nearest(book: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray(np.searchsorted((book[1:] + book[:-1]) / 2, values), np.int64)
