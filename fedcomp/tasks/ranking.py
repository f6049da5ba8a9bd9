"""How well scores rank two classes: the area under the receiver operating characteristic."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fedcomp.tasks.base import ArrayTask


def roc_auc(scores: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """Return the chance, in [0, 1], that a random row of class 1 scores above one of class 0; a tie counts half.

    It is the rank statistic of H. Mann and D. Whitney, *On a Test of Whether one of Two Random Variables is
    Stochastically Larger than the Other* (1947). ``scores`` and ``targets`` are ``[n]``; targets are 0 or 1.

    Raises:
        ValueError: for other shapes, a score that is NaN, a target that is neither 0 nor 1, or a class without rows.
    """
    if scores.ndim != 1 or scores.shape != targets.shape:
        raise ValueError(f"expected scores [n] and targets [n], got {list(scores.shape)} and {list(targets.shape)}")
    if np.isnan(scores).any():
        raise ValueError("scores must be numbers, got NaN")
    if set(np.unique(targets)) != {0, 1}:
        raise ValueError(f"targets must be 0 and 1 and both present, got {np.unique(targets)[:10].tolist()}")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    below = np.cumsum(counts) - counts  # rows that score less; of equal rows, half count
    ranks = (below + (counts - 1) / 2)[places]
    ones = int(targets.sum())
    won = ranks[targets == 1].sum() - ones * (ones - 1) / 2
    return float(won / (ones * (len(targets) - ones)))


def margin_auc(outputs: Tensor, targets: Tensor) -> float:
    """Return ``roc_auc`` of logits ``[n, 2]``: the score of a row is how far its second logit is above its first."""
    logits = outputs.detach().double().numpy()
    return roc_auc(logits[:, 1] - logits[:, 0], targets.numpy())


class RankedTask(ArrayTask):
    """A task of two classes whose models are also judged by how they rank rows, wherever the threshold is put."""

    def auc(self, outputs: Tensor, targets: Tensor) -> float:
        """Return ``margin_auc`` of ``outputs [n, 2]`` and ``targets [n]``."""
        return margin_auc(outputs, targets)
