"""Which units stay, by their scores, and how many each group keeps."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedcomp.shrink.pruning.groups import Group, Places

Scope = Literal["layer", "global"]
_LEAST_SHARE = 0.1  # of a group's units, in global scope: a layer without channels cuts the model in two


def choose(
    groups: Sequence[Group], scores: Sequence[NDArray[np.float64]], ratio: float, scope: Scope, round_to: int
) -> list[Places]:
    """Return for each group the units that stay, ascending; the first of equals stay.

    Scope ``layer``: each group loses the share ``ratio``; ``global``: all units together do, and no group more than
    nine in ten. What stays is rounded to the nearest multiple of ``round_to``, but never to none.
    """
    stays = _stays_globally(scores, ratio) if scope == "global" else [len(each) * (1 - ratio) for each in scores]
    return [
        group.largest(each, _rounded(count, len(each), math.lcm(round_to, group.parts)))
        for group, each, count in zip(groups, scores, stays, strict=True)
    ]


def check_options(ratio: float, round_to: int) -> None:
    """Refuse options of a cut that are out of range.

    Raises:
        ValueError: naming the option.
    """
    if not 0 < ratio < 1:
        raise ValueError(f"ratio must be in (0, 1), got {ratio}")
    if round_to < 1:
        raise ValueError(f"round_to must be at least 1, got {round_to}")


def check_scope(scope: str) -> None:
    """Refuse a scope that is none.

    Raises:
        ValueError: naming it.
    """
    if scope not in ("layer", "global"):
        raise ValueError(f"scope must be layer or global, got {scope!r}")


def _stays_globally(scores: Sequence[NDArray[np.float64]], ratio: float) -> list[float]:
    together = np.concatenate(scores)
    order = np.argsort(-together, kind="stable")[: round(len(together) * (1 - ratio))]
    stays = np.zeros(len(together), bool)
    stays[order] = True
    each = np.split(stays, np.cumsum([len(group) for group in scores])[:-1])
    return [max(float(group.sum()), _LEAST_SHARE * len(group)) for group in each]


def _rounded(count: float, units: int, multiple: int) -> int:
    return min(units, max(multiple, math.floor(count / multiple + 0.5) * multiple))
