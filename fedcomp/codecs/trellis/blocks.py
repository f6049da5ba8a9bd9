"""Values as blocks of 256, the last one filled with zeros, without a copy of them; and the scale of every block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Floats
from fedcomp.codecs.trellis.machine import BLOCK

Indices = NDArray[np.intp]

_CHUNK = 2**8


@dataclass(frozen=True, eq=False)
class Scales:
    """Of every block the mean and the largest magnitude; what fills the last one does not count."""

    means: Floats
    peaks: Floats


class Blocks:
    """Blocks of a float32 array of shape (size,), which is read when they are taken."""

    def __init__(self, values: Floats) -> None:
        """Look at values."""
        whole = len(values) // BLOCK
        self._whole, self._last = values[: whole * BLOCK].reshape(whole, BLOCK), values[whole * BLOCK :]
        self._filled = np.append(self._last, np.zeros(-len(values) % BLOCK, dtype=np.float32))

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._whole) + (len(self._last) > 0)

    def take(self, indices: Indices) -> Floats:
        """Return blocks, given by indices that do not fall, as one array of shape (values,), not to be written to."""
        if not len(indices):
            return np.empty(0, dtype=np.float32)
        if indices[-1] < len(self._whole):
            if indices[-1] - indices[0] == len(indices) - 1 and np.all(np.diff(indices) == 1):
                return self._whole[indices[0] : indices[-1] + 1].reshape(-1)
            return self._whole.take(indices, axis=0).reshape(-1)
        return np.concatenate([self.take(indices[:-1]), self._filled])

    def scales(self) -> Scales:
        """Return the scale of every block."""
        means, peaks = np.empty((2, len(self)), dtype=np.float32)
        buffer = np.empty((_CHUNK, BLOCK), dtype=np.float32)
        for at in range(0, len(self._whole), _CHUNK):
            part = self._whole[at : at + _CHUNK]
            magnitudes = np.abs(part, buffer[: len(part)])
            np.einsum("ij->i", magnitudes, out=means[at : at + len(part)])
            np.max(magnitudes, axis=1, out=peaks[at : at + len(part)])
        means[: len(self._whole)] *= np.float32(1 / BLOCK)
        if len(self._last):
            magnitudes = np.abs(self._last)
            means[-1], peaks[-1] = magnitudes.mean(), magnitudes.max()
        return Scales(means, peaks)

    def energies(self, indices: Indices) -> NDArray[np.float64]:
        """Return the sums of squares of blocks, given by indices that do not fall."""
        energies = np.empty(len(indices))
        for at in range(0, len(indices), _CHUNK):
            part = self.take(indices[at : at + _CHUNK]).astype(np.float64).reshape(-1, BLOCK)
            np.einsum("ij,ij->i", part, part, out=energies[at : at + len(part)])
        return energies
