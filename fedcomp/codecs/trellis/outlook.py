"""A first idea of the rate and the error of a step, before anything is searched: from magnitudes alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Floats
from fedcomp.codecs.trellis.blocks import Blocks, Scales
from fedcomp.codecs.trellis.machine import BLOCK

_Numbers = NDArray[np.float64]

_BLOCKS, _GOLDEN = 128, 0.6180339887498949
_OCTAVES = np.array([-4.0, -2.3, -1.7, -1.3, -1.04, -0.77, -0.39, 0.61, 80])
_BITS = np.array([0.001, 0.012, 0.03, 0.1, 0.22, 0.48, 1.0, 1.99, 81.4])
"""Bits of a value by the binary logarithm of the mean magnitude in steps: Laplace values, and from a bit on all."""
_SCALAR_STEP, _BORDER, _FINE_ERROR, _COARSE_ERROR = 2.0, 0.7, 0.27, 0.35
_EVERY, _PART, _MOST_SPREAD = 8, 64, 0.05
"""Mean magnitudes of parts of a block, in octaves: beyond that they differ by more than by chance."""


@dataclass(frozen=True, eq=False)
class Outlook:
    """Mean magnitudes of all blocks, as binary logarithms, and some blocks, shape (blocks, 256)."""

    octaves: _Numbers
    chosen: NDArray[np.intp]
    sample: Floats

    @classmethod
    def of(cls, blocks: Blocks, scales: Scales) -> "Outlook":
        """Return the outlook of blocks, one at least."""
        # At irregular distances, so that no period of the values, such as that of layers, is looked at in one phase.
        chosen = np.unique((np.arange(min(len(blocks), _BLOCKS)) * _GOLDEN % 1.0 * len(blocks)).astype(np.intp))
        octaves = np.log2(np.maximum(scales.means, np.float32(2.0**-126)))
        return cls(octaves, chosen, np.abs(blocks.take(chosen)).reshape(-1, BLOCK))

    def bits(self, log_step: float) -> float:
        """Return about how many bits a value takes."""
        from_means = np.interp(self.octaves - log_step, _OCTAVES, _BITS, left=0.0)
        expected = from_means[self.chosen]
        # Where most values are zero, what their mean is tells too little.
        low = expected < 1
        more = self._scalar_bits(self.sample[low], log_step) - expected[low]
        return float(from_means.mean() * (1 + more.sum() / (expected.sum() + 1e-3)))

    def error(self, log_step: float) -> float:
        """Return about how large the mean squared error is."""
        square = 4.0**log_step
        is_zero = self.sample < 1.5 * 2.0**log_step
        coarse = np.where(is_zero, np.square(self.sample), _COARSE_ERROR * square).mean(axis=1)
        share = np.minimum(np.interp(self.octaves[self.chosen] - log_step, _OCTAVES, _BITS), 1.0)
        return float(np.mean(share * _FINE_ERROR * square + (1 - share) * coarse))

    def is_plain(self, log_step: float) -> bool:
        """Return whether values look like draws from a density, of one scale within a block.

        Of few values, or with scales that change within a block, mode ``fast`` may be better than it seems here.
        """
        nonzero = self.sample[self.sample > 0][::_EVERY]
        few = len(np.unique(nonzero)) * 2 < len(nonzero)
        floor = np.float32(2.0**log_step / 8)
        parts = np.log2(self.sample.reshape(len(self.sample), -1, _PART).mean(axis=2) + floor).mean(axis=1)
        whole = np.log2(self.sample.mean(axis=1) + floor)
        return not few and float(np.quantile(whole - parts, 0.75)) < _MOST_SPREAD

    @staticmethod
    def _scalar_bits(sample: Floats, log_step: float) -> _Numbers:
        """Return the bits of a value of each block of the sample with a dead zone and a geometric distribution."""
        scaled = sample * np.float32(2.0**-log_step / _SCALAR_STEP)
        passed = np.count_nonzero(scaled >= np.float32(_BORDER), axis=1) / BLOCK
        inside = np.clip(passed, 0.5 / BLOCK, 1 - 0.5 / BLOCK)
        # The rarer a level is, the dearer, and the farther it is to it.
        border = np.clip(0.55 + 0.05 * np.log2((1 - inside) / inside), 0.5, 0.95).astype(np.float32)
        is_some = scaled >= border[:, None]
        passed = np.count_nonzero(is_some, axis=1) / BLOCK
        inside = np.clip(passed, 0.5 / BLOCK, 1 - 0.5 / BLOCK)
        over = (scaled * is_some).sum(axis=1) / BLOCK
        more = np.maximum(over / np.maximum(passed, 1e-9) - 1, 0.02)
        later = (1 + more) * np.log2(1 + more) - more * np.log2(more)
        zero = -inside * np.log2(inside) - (1 - inside) * np.log2(1 - inside)
        return np.asarray(np.where(passed > 0, zero + passed * (1 + later), 0.0))
