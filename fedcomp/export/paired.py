"""Two models on the same rows: how much accuracy one loses, and how sure that is."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedcomp.runtimes.base import Program
from fedcomp.tasks import model_rows

_PIECE = 256
_MISSED = 0.05  # how often a 95 % interval does not have the truth in it


@dataclass(frozen=True)
class PairedLoss:
    """Points of accuracy lost, and the bounds of the 95 % interval of what more rows would show."""

    points: float
    interval: tuple[float, float]


def answers(program: Program, rows: NDArray[Any]) -> NDArray[Any]:
    """Return a program's outputs of all rows ``[n, ...]``, which it gets in pieces."""
    pieces = [program(model_rows(rows[start : start + _PIECE])) for start in range(0, len(rows), _PIECE)]
    return np.concatenate(pieces)


def right_rows(
    outputs: NDArray[np.floating], targets: NDArray[np.int64], metric: Callable[[Tensor, Tensor], float]
) -> NDArray[np.float64]:
    """Return the task's metric of each row alone, ``[n]``: 1 or 0 for accuracy, a share for sequences."""
    given, truths = torch.from_numpy(np.asarray(outputs)), torch.from_numpy(np.asarray(targets))
    return np.array([metric(given[row : row + 1], truths[row : row + 1]) for row in range(len(truths))])


def paired_loss(dense: NDArray[np.float64], small: NDArray[np.float64]) -> PairedLoss:
    """Return what ``small`` loses against ``dense``: row scores ``[n]`` in [0, 1] of the same rows.

    The interval is that of the mean of paired differences; for right or wrong answers it is McNemar's, without
    continuity correction (Q. McNemar, *Note on the Sampling Error of the Difference Between Correlated Proportions or
    Percentages*, 1947). It is far narrower than that of two accuracies apart, because the models err on the same rows.

    Raises:
        ValueError: for no rows, or unequally many.
    """
    if len(dense) != len(small) or len(dense) < 2:
        raise ValueError(f"expected scores of the same 2 or more rows, got {len(dense)} and {len(small)}")
    differences = 100 * (dense - small)
    mean = float(differences.mean())
    margin = _deviations(1) * float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return PairedLoss(mean, (mean - margin, mean + margin))


def widened(interval: tuple[float, float], candidates: int) -> tuple[float, float]:
    """Return the 95 % ``interval`` of one of ``candidates``, so wide that all of theirs hold at once.

    Then it holds for whichever was chosen, and by whatever rule: O. Dunn, *Multiple Comparisons Among Means* (1961).

    Raises:
        ValueError: for fewer than one candidate.
    """
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    low, high = interval
    middle, margin = (low + high) / 2, (high - low) / 2 * _deviations(candidates) / _deviations(1)
    return middle - margin, middle + margin


def _deviations(intervals: int) -> float:
    """Return the standard deviations to each side with which so many intervals all hold in 95 % of cases, or more."""
    return NormalDist().inv_cdf(1 - _MISSED / (2 * intervals))
