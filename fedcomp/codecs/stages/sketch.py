"""Count sketch: all values added into a small table by public hashes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import choice, integer, number
from fedcomp.codecs.public import public_seed, public_words, read_seed
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept

_DOMAIN = 5
_CHUNK = 2**15
"""Values that are hashed at a time."""


@dataclass(frozen=True)
class Sketch(Stage):
    """Adds every value, with a random sign, into one cell of each row of a table.

    A value is estimated by the median (or mean) of its cells. The table is linear in the values and its hashes come
    from a public seed, so sketches of one seed can be added. Its norm is that of the values only on average: clip again
    after it where sensitivity counts. Few large values are found well, many equal ones are not: ``top_density`` below 1
    keeps the largest estimates alone. (Count sketch: Charikar et al. 2002; FetchSGD: Rothchild et al. 2020.)
    """

    density: float = number(0.1, 0, 1, open_low=True)
    rows: int = integer(5, 1, 15, default=5)
    estimate: str = choice("median", "mean")
    top_density: float = number(1.0, 0, 1, open_low=True, default=1.0)
    id: ClassVar[str] = "sketch"
    data_dependent = False
    linear = True

    @property
    def biased(self) -> bool:
        """Whether small estimates are dropped."""
        return self.top_density < 1

    def form(self, form: Form) -> Form:
        """Return the form with the cells of the table, row by row, and one more seed."""
        cells = (self.rows, self._columns(form.require_floats()))
        table = Spec(np.dtype(np.float32), cells[0] * cells[1])
        return Form(table, (*form.streams, Spec(np.dtype(np.uint64), 1)), (cells,))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Add every value into its cells."""
        seed, size = public_seed(rng), packet.values.size
        columns = self._columns(size)
        table = np.zeros((self.rows, columns), dtype=np.float64)
        for first in range(0, size, _CHUNK):
            values = packet.values[first : first + _CHUNK]
            for row in range(self.rows):
                cells, signs = _hashes(seed, row, first, values.size, columns)
                table[row] += np.bincount(cells, values * signs, columns)
        return Packet(table.astype(np.float32).reshape(-1), (*packet.streams, np.array([seed], dtype=np.uint64)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Estimate every value from its cells."""
        *streams, stream = packet.streams
        if not np.isfinite(packet.values).all():
            raise PayloadError("expected finite cells, got NaN or infinity")
        seed, size = read_seed(stream), form.require_floats()
        table = packet.values.reshape(self.rows, -1)
        values = np.empty(size, dtype=np.float32)
        for first in range(0, size, _CHUNK):
            count = min(_CHUNK, size - first)
            found = np.empty((self.rows, count), dtype=np.float32)
            for row in range(self.rows):
                cells, signs = _hashes(seed, row, first, count, table.shape[1])
                np.multiply(table[row][cells], signs, out=found[row])
            values[first : first + count] = self._combine(found)
        kept = num_kept(size, self.top_density)
        if kept < size:
            values[~largest(np.abs(values), kept)] = 0
        return Packet(values, tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return None: it depends on which values meet in a cell."""
        return None

    def _columns(self, size: int) -> int:
        return max(round(self.density * size / self.rows), 1) if size else 0

    def _combine(self, found: NDArray[np.float32]) -> Array:
        """Return one estimate a value, of as many as there are rows, which are overwritten."""
        half, odd = divmod(self.rows, 2)
        if self.estimate == "mean":
            for row in found[1:]:
                found[0] += row
            return np.asarray(found[0] * np.float32(1 / self.rows))
        _sort_rows(found)
        middle = found[half] if odd else (found[half - 1] + found[half]) * np.float32(0.5)
        # Which of two zeros a minimum returns is up to the platform: 0 + 0 is always the positive one.
        return np.asarray(middle + np.float32(0))


def _sort_rows(found: NDArray[np.float32]) -> None:
    """Sort every column by exchanges between neighbours: few rows, many columns."""
    larger = np.empty_like(found[0])
    for last in range(len(found) - 1, 0, -1):
        for row in range(last):
            np.maximum(found[row], found[row + 1], out=larger)
            np.minimum(found[row], found[row + 1], out=found[row])
            found[row + 1] = larger


def _hashes(seed: int, row: int, first: int, count: int, columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the cell of each of ``count`` values from ``first`` on in a row, and the sign of each there."""
    words = public_words(seed, _DOMAIN + 256 * (row + 16 * (first // _CHUNK)), count)
    cells = (words >> np.uint32(1)).astype(np.int64) * columns >> 31
    return cells, 1 - 2 * (words & np.uint32(1)).astype(np.float32)
