"""All that the encoder decides for one step: classes, rounding and shifts, and what it expects of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.rate.classes import NUM_SCALES, Merging, merge_scales, scales_of
from fedcomp.codecs.rate.levels import NEAREST, Floats, Rounding, dither_values
from fedcomp.codecs.rate.model import LAPLACE_ROUNDINGS, NUM_BINS, best_rounding, bins_of, estimated_size
from fedcomp.codecs.rate.sample import Survey
from fedcomp.codecs.rate.thinning import (
    THINNED_SCALE,
    ZEROS_ONLY,
    Kinds,
    plain_kinds,
    thinned_kinds,
    thinnings_of,
)

_FINEST_STEP, _COARSEST_STEP, _COARSEST_DITHERED, _SMALLEST_STEP = -21.0, 1.0, 21.0, -118.0
"""Binary logarithms: of the step in units of the largest magnitude, and of any step."""


@dataclass(frozen=True, eq=False)
class Design:
    """``roundings`` has one entry a table; ``size`` is bytes, ``error`` the squared error of all values together."""

    step: np.float32
    block: int
    kinds: Kinds
    roundings: tuple[Rounding, ...]
    shifts: tuple[int, int, int]
    size: float
    error: float


def step_limits(found: Survey, *, dither: bool) -> tuple[float, float]:
    """Return the binary logarithms of the finest and the coarsest step."""
    peak = float(np.log2(found.peak))
    coarsest = _COARSEST_DITHERED if dither else _COARSEST_STEP
    return max(peak + _FINEST_STEP, _SMALLEST_STEP), max(peak + coarsest, _SMALLEST_STEP)


class Designer:
    """Makes designs from a survey; the sample's magnitudes are at hand for every step that is tried.

    Roundings follow from what levels cost, and levels from roundings: the first are those of a Laplace distribution.
    """

    def __init__(self, found: Survey, block: int, *, dither: bool) -> None:
        """Prepare the sample in blocks of ``block`` values."""
        self.found, self.block, self.limits = found, block, step_limits(found, dither=dither)
        self._log_means = found.log_means(block)
        self._values = found.rows.reshape(-1, block)
        self._magnitudes = np.abs(self._values)
        self._weights = found.value_weights(block)
        self._norm = float(np.sum(self._weights * np.square(found.rows, dtype=np.float64)))
        self._dither = dither_values(0, len(found.rows)).reshape(-1, block) if dither else None
        self._weight = max(found.size / len(found.rows), 1.0)

    def design(self, step: np.float32) -> Design:
        """Return the design for a step."""
        if self._dither is not None:
            return self._dithered(step, self._dither)
        scales = scales_of(self._log_means, float(step))
        sampled = self.found.sampled(scales, self.block).reshape(-1)
        merging, counts = self._merge(self._levels(step, sampled, *LAPLACE_ROUNDINGS), sampled, scales, self._weights)
        classes = merging.classes[sampled]
        roundings = tuple(best_rounding(row) for row in counts)
        first, later = np.array([(each.first, each.later) for each in roundings], dtype=np.float32).T
        levels = self._levels(step, classes, first, later)
        counts = _counts(levels, classes, merging.count, self._weights)
        shifts, error = self._shifts(levels.reshape(-1), step)
        kinds = plain_kinds(merging.classes[scales], merging.count)
        size = estimated_size(counts, kinds.of_block, self.found.size)
        return Design(step, self.block, kinds, roundings, shifts, size, error)

    def _dithered(self, step: np.float32, dither: Floats) -> Design:
        """Return the design for a step with a dither; the sample is looked at as if all of it were coded."""
        thinnings = thinnings_of(self._log_means, float(step))
        scales = scales_of(self._log_means, float(step))
        scales[(thinnings > 0) & (thinnings < ZEROS_ONLY)] = THINNED_SCALE
        sampled = self.found.sampled(scales, self.block).reshape(-1)
        thinned = self.found.sampled(thinnings, self.block).reshape(-1)
        factors = np.where(thinned == ZEROS_ONLY, 0.0, 2.0**thinned)
        levels = self._values * (factors[:, None] / step).astype(np.float32)
        np.rint(np.subtract(levels, dither, levels), levels)
        coded = np.where(thinned == ZEROS_ONLY, 0.0, 2.0 ** -thinned.astype(np.float64))
        weights = (self._weights.reshape(-1, self.block) * coded[:, None]).reshape(-1)
        merging, counts = self._merge(np.abs(levels, levels), sampled, scales, weights)
        kinds = thinned_kinds(merging.classes[scales], thinnings)
        squares = self._weights * np.square(self._values.reshape(-1), dtype=np.float64)
        missed = squares.reshape(-1, self.block).sum(axis=1) @ np.maximum(factors - 1, 0)
        error = float(missed) + float(step) ** 2 / 12 * float(weights.sum())
        size = estimated_size(counts, kinds.of_block, self.found.size)
        return Design(step, self.block, kinds, (NEAREST,) * kinds.num_tables, (0, 0, 0), size, error)

    def _levels(self, step: np.float32, groups: NDArray[np.uint8], first: Floats, later: Floats) -> Floats:
        """Return the sample's magnitudes as levels, from the group of every block and the rounding of every group."""
        scaled = self._magnitudes * np.float32(1 / step)
        levels = scaled + (1 - later)[groups][:, None]
        np.floor(levels, levels)
        is_some = scaled >= first[groups][:, None]
        np.maximum(levels, is_some, out=levels)
        levels *= is_some
        return np.asarray(levels, dtype=np.float32)

    def _merge(
        self, levels: Floats, sampled: NDArray[np.uint8], scales: NDArray[np.uint8], weights: NDArray[np.float64]
    ) -> tuple[Merging, NDArray[np.float64]]:
        """Return classes of scales, and the counts of each."""
        by_scale = _counts(levels, sampled, NUM_SCALES, weights)
        merging = merge_scales(by_scale, scales, self._weight)
        starts = np.searchsorted(merging.classes, np.arange(merging.count))
        return merging, np.add.reduceat(by_scale, starts, axis=0)

    def _shifts(self, levels: Floats, step: np.float32) -> tuple[tuple[int, int, int], float]:
        """Return the shifts in 1/256 of a step, and the squared error."""
        places = np.flatnonzero(levels)
        levels, weights = levels[places].astype(np.float64), self._weights[places]
        scaled = self._magnitudes.reshape(-1)[places] / np.float64(step)
        off, kind = scaled - levels, np.minimum(levels, 3).astype(np.intp)
        weight = np.bincount(kind, weights, minlength=4)
        first = np.bincount(kind, weights * off, minlength=4)
        exact = np.clip(np.rint(256 * first / np.maximum(weight, 1e-9)), -127, 127)[1:]
        shift = exact / 256
        saved = float(np.sum(weights * (scaled**2 - off**2))) + float(
            np.sum(shift * (2 * first - weight * np.append(0, shift))[1:])
        )
        return (int(exact[0]), int(exact[1]), int(exact[2])), max(self._norm - saved * float(step) ** 2, 0.0)


def _counts(
    levels: Floats, classes: NDArray[np.uint8], number: int, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how often each bin of levels occurs in each class, levels of shape (blocks, values)."""
    bins = bins_of(levels) + classes.astype(np.int32)[:, None] * NUM_BINS
    found = np.bincount(bins.reshape(-1), weights, minlength=number * NUM_BINS)
    return np.asarray(found.reshape(number, NUM_BINS), dtype=np.float64)
