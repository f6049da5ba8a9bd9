"""Units that can leave a model, and the parts of its tensors that leave with them.

A unit is a channel, a hidden unit or a head. Those that can leave only together with others of their number, since a
sum adds them up, are one group (G. Fang, X. Ma, M. Song, M. Bi Mi and X. Wang, *DepGraph: Towards Any Structural
Pruning*, 2023).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Piece:
    """Parts of one tensor: ``places [n]`` along ``axis`` of the tensor of this name belong to ``units [n]``."""

    tensor: str
    axis: int
    places: Places
    units: Places


@dataclass(frozen=True, eq=False)
class Group:
    """``units`` units, and all that leaves with each.

    ``parts``: in how many runs of equal length they come, each of which has to keep as many as the others; more than
    one where a GroupNorm normalises each run apart.
    """

    name: str
    units: int
    pieces: tuple[Piece, ...]
    parts: int = 1

    def largest(self, scores: NDArray[np.float64], count: int) -> Places:
        """Return the ``count`` units of the largest ``scores [units]``, ascending; the first of equals.

        Each part gives equally many, so that ``count`` is to be a multiple of ``parts``.
        """
        runs = scores.reshape(self.parts, -1)
        best = np.argsort(-runs, axis=1, kind="stable")[:, : count // self.parts]
        return np.sort((best + runs.shape[1] * np.arange(self.parts)[:, None]).ravel()).astype(np.int64)
