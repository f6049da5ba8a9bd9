"""What a scalar quantizer with an entropy coder would make of the same blocks: is a trellis worth its while?

That is mode ``fast`` but for what it pays beside its levels. The encoder alone runs this.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Floats

_Numbers = NDArray[np.float64]

STEPS = 2.0, 2.15
"""Steps of the scalar quantizer in steps of the trellis: so their slopes of error over bits are about the same."""
_PRICE_OF_BIT = 0.1
_BINS, _BINS_A_STEP, _ROUNDS, _FIRST = 1024, 16, 3, 0.62
_CENTRES = (np.arange(_BINS) + 0.5) / _BINS_A_STEP
_NEAREST = np.floor(_CENTRES + 0.5).astype(np.intp)
_CANDIDATES = np.stack([_NEAREST, np.maximum(_NEAREST - 1, 0), np.zeros_like(_NEAREST)])
_ERRORS = np.square(_CENTRES - _CANDIDATES)


@dataclass(frozen=True)
class Scalar:
    """Bits and squared error, in squared steps of the trellis, of all values looked at."""

    bits: float
    error: float


def quantize(magnitudes: Floats, step: float) -> Scalar:
    """Return what values take with the best rounding and the best points; both in steps of the trellis."""
    bins = np.minimum(magnitudes * np.float32(_BINS_A_STEP / step), np.float32(_BINS - 1)).astype(np.intp)
    counts = np.bincount(bins, minlength=_BINS).astype(np.float64)
    levels = np.where(_CENTRES < _FIRST, 0, _NEAREST)
    for _ in range(_ROUNDS):
        lengths = _lengths(np.bincount(levels, counts), int(_NEAREST[-1]) + 1)
        best = (_ERRORS + _PRICE_OF_BIT * lengths[_CANDIDATES]).argmin(axis=0)
        levels = np.take_along_axis(_CANDIDATES, best[None], axis=0)[0]
    of_level = np.bincount(levels, counts)
    off, kinds = _CENTRES - levels, np.minimum(levels, 3)
    number, total = np.bincount(kinds, counts, minlength=4), np.bincount(kinds, counts * off, minlength=4)
    moved = total / np.maximum(number, 1)
    moved[0] = 0
    error = float(counts @ np.square(off - moved[kinds]))
    return Scalar(float(of_level @ _lengths(of_level, len(of_level))), error * step**2)


def _lengths(counts: NDArray[Any], size: int) -> _Numbers:
    """Return the bits of each level, with its sign; what does not occur is dear."""
    padded = np.zeros(size)
    padded[: len(counts)] = counts
    lengths: _Numbers = np.log2(counts.sum() / np.maximum(padded, 0.3))
    lengths[1:] += 1
    return lengths
