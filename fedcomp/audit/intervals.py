"""Confidence intervals for what an attack counts and ranks."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    high: float


def clopper_pearson(successes: Counts, trials: int, alpha: float) -> tuple[Floats, Floats]:
    """Return the lower and the upper bound of each proportion, ``alpha / 2`` of error on either side.

    Exact: covers the true proportion with probability at least ``1 - alpha`` whatever it is (Clopper and Pearson 1934).
    """
    count = np.asarray(successes)
    low = np.where(count == 0, 0.0, stats.beta.ppf(alpha / 2, np.maximum(count, 1), trials - count + 1))
    high = np.where(count == trials, 1.0, stats.beta.ppf(1 - alpha / 2, count + 1, np.maximum(trials - count, 1)))
    return np.asarray(low), np.asarray(high)


def auc(members: Floats, non_members: Floats) -> float:
    """Return the chance that a member scores above a non-member, ties counted half (Mann and Whitney 1947)."""
    ranks = stats.rankdata(np.concatenate([members, non_members]))
    count = len(members)
    return float((ranks[:count].sum() - count * (count + 1) / 2) / (count * len(non_members)))


def auc_interval(members: Floats, non_members: Floats, alpha: float) -> Interval:
    """Return the interval of the AUC by DeLong, DeLong and Clarke-Pearson (1988), on the logit scale.

    Where the scores separate perfectly the estimated variance is 0 and says nothing; the interval is then that of a
    proportion of which every one of ``min(n, m)`` trials succeeded.
    """
    value = auc(members, non_members)
    everyone = stats.rankdata(np.concatenate([members, non_members]))
    above = (everyone[: len(members)] - stats.rankdata(members)) / len(non_members)
    below = (everyone[len(members) :] - stats.rankdata(non_members)) / len(members)
    variance = np.var(above, ddof=1) / len(members) + np.var(below, ddof=1) / len(non_members)
    if variance <= 0 or value in (0.0, 1.0):
        room = 1 - (alpha / 2) ** (1 / min(len(members), len(non_members)))
        return Interval(max(0.0, value - room), min(1.0, value + room))
    centre = math.log(value / (1 - value))
    spread = float(stats.norm.ppf(1 - alpha / 2)) * math.sqrt(float(variance)) / (value * (1 - value))
    return Interval(1 / (1 + math.exp(spread - centre)), 1 / (1 + math.exp(-spread - centre)))
