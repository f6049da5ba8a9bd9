"""What the encoder knows before it quantizes: the scale of every block, and blocks that stand for the others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.rate.levels import Floats

FINEST, COARSEST = 32, 1024
"""Blocks have these lengths, or a power of two between them."""
_FEWEST, _MOST, _CHUNK = 64, 128, 2**16


@dataclass(frozen=True, eq=False)
class Survey:
    """Sums of magnitudes of every block of 32 values, and the largest magnitude of every block of 1024.

    ``rows`` are the sample: blocks of 1024 values, padded with zeros, one after the other; ``chosen`` says which.
    """

    size: int
    sums: Floats
    peaks: Floats
    rows: Floats
    chosen: NDArray[np.intp]

    @property
    def peak(self) -> float:
        """The largest magnitude."""
        return float(self.peaks.max())

    def log_means(self, block: int) -> NDArray[np.float32]:
        """Return the binary logarithm of the mean magnitude of every block, -inf for zeros."""
        sums = _joined(self.sums, block // FINEST)
        sums /= np.float32(block)
        sums[-1] *= np.float32(block / (self.size - (len(sums) - 1) * block))
        with np.errstate(divide="ignore"):
            return np.log2(sums, sums)

    def sampled(self, by_block: NDArray[Any], block: int) -> NDArray[Any]:
        """Return what belongs to the blocks of the sampled rows, shape (rows, 1024 / block), from one entry a block.

        Blocks after the last one repeat it; they have no weight.
        """
        share = COARSEST // block
        places = self.chosen[:, None] * share + np.arange(share)
        return np.asarray(by_block[np.minimum(places, len(by_block) - 1)])

    def value_weights(self, block: int) -> NDArray[np.float64]:
        """Return for every sampled value how many in blocks of its scale it stands for; 0 where there is none."""
        log_means = self.log_means(block)
        scales = np.floor(4 * np.maximum(log_means, log_means.max() - 40)).astype(np.int64)
        scales -= scales.min()
        real = (self.chosen[:, None] * COARSEST + np.arange(0, COARSEST, block) < self.size).reshape(-1)
        sampled = self.sampled(scales, block).reshape(-1)
        looked_at = np.bincount(sampled[real], minlength=int(scales.max()) + 1)
        present = np.flatnonzero(looked_at)
        # Blocks of a scale that was not looked at count for the next one that was.
        nearest = np.minimum(np.searchsorted(present, scales), len(present) - 1)
        stands_for = np.bincount(nearest, minlength=len(present)) / looked_at[present]
        weights = np.where(real, stands_for[np.minimum(np.searchsorted(present, sampled), len(present) - 1)], 0.0)
        by_value = np.repeat(weights, block)
        places = (self.chosen[:, None] * COARSEST + np.arange(COARSEST)).reshape(-1)
        return np.where(places < self.size, by_value, 0.0)


def survey(values: Floats) -> Survey:
    """Return the survey of values, one at least."""
    sums = np.empty(-(-len(values) // FINEST), dtype=np.float32)
    peaks = np.empty(-(-len(values) // COARSEST), dtype=np.float32)
    for at in range(0, len(values), _CHUNK):
        part = np.abs(values[at : at + _CHUNK])
        if len(part) % COARSEST:
            part = np.pad(part, (0, -len(part) % COARSEST))
        count = -(-min(_CHUNK, len(values) - at) // FINEST)
        sums[at // FINEST : at // FINEST + count] = np.einsum("ij->i", part.reshape(-1, FINEST))[:count]
        peaks[at // COARSEST : at // COARSEST + len(part) // COARSEST] = part.reshape(-1, COARSEST).max(axis=1)
    chosen = _choose_rows(sums, len(peaks))
    rows = np.zeros((len(chosen), COARSEST), dtype=np.float32)
    whole = len(values) // COARSEST
    inside = chosen < whole
    rows[inside] = values[: whole * COARSEST].reshape(whole, COARSEST)[chosen[inside]]
    if not inside.all():
        rows[-1, : len(values) - whole * COARSEST] = values[whole * COARSEST :]
    return Survey(len(values), sums, peaks, rows.reshape(-1), chosen)


def _joined(sums: Floats, share: int) -> Floats:
    """Return the sums of ``share`` neighbours, a power of two."""
    joined = sums.copy()
    while share > 1:
        joined = np.append(joined, np.zeros(len(joined) % 2, dtype=np.float32))
        joined, share = joined[0::2] + joined[1::2], share // 2
    return joined


def _choose_rows(sums: Floats, count: int) -> NDArray[np.intp]:
    """Return rows of every scale, in order."""
    budget = min(max(count // 16, _FEWEST), _MOST)
    if count <= budget:
        return np.arange(count)
    means = _joined(sums, COARSEST // FINEST)
    with np.errstate(divide="ignore"):
        strata = np.maximum(np.rint(2 * np.log2(means / max(float(means.max()), 1e-30))), -40).astype(np.int64)
    strata -= strata.min()
    sizes = np.bincount(strata)
    share = budget / 2 / np.count_nonzero(sizes)
    wanted = np.minimum(np.ceil(budget / 2 * sizes / count + share), sizes).astype(np.int64)
    chosen = []
    for stratum, (size, number) in enumerate(zip(sizes.tolist(), wanted.tolist(), strict=True)):
        members = np.flatnonzero(strata == stratum)
        chosen.append(members[(np.arange(number) * size + size // 2) // max(number, 1)])
    return np.sort(np.concatenate(chosen))
