"""Global pruning by magnitude."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import number
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class TopK(Stage):
    """Keeps the share density of the values that is largest in magnitude.

    A mask tells where they were. Exactly ``num_kept`` values are kept over all arrays together; among equal
    magnitudes the first ones. The rest decodes to 0. (Top-k sparsification: Aji and Heafield 2017; Lin et al. 2018.)
    Follow it by ``rans``, which brings the mask from one bit a value to its entropy.
    """

    density: float = number(0.05, 0, 1, open_low=True)
    id: ClassVar[str] = "topk"
    bound: ClassVar[str] = "the largest magnitude that is dropped"
    data_dependent = True
    biased = True

    def form(self, form: Form) -> Form:
        """Return the form with fewer values and one more mask."""
        size = form.require_floats()
        mask = Spec(np.dtype(np.bool_), size)
        return Form(Spec(np.dtype(np.float32), num_kept(size, self.density)), (*form.streams, mask))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Keep the largest magnitudes."""
        mask = largest(np.abs(packet.values), num_kept(packet.values.size, self.density))
        return Packet(packet.values[mask], (*packet.streams, mask))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Put the kept values back to their places."""
        mask = packet.streams[-1]
        return Packet(scatter(packet.values, mask), packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude that is dropped."""
        magnitudes = np.abs(values)
        return float(magnitudes[~largest(magnitudes, num_kept(values.size, self.density))].max(initial=0.0))


def num_kept(size: int, density: float) -> int:
    """Return how many of ``size`` values are kept: ``density * size`` rounded half to even, and one at least."""
    return max(round(density * size), 1) if size else 0


def largest(keys: Array, count: int) -> NDArray[np.bool_]:
    """Return a mask of exactly ``count`` largest keys; of equal keys at the border the first ones."""
    if count >= keys.size:
        return np.ones(keys.size, dtype=np.bool_)
    if count == 0:
        return np.zeros(keys.size, dtype=np.bool_)
    border = np.partition(keys, keys.size - count)[keys.size - count]
    mask = np.asarray(keys > border, dtype=np.bool_)
    missing = count - int(np.count_nonzero(mask))
    mask[np.flatnonzero(keys == border)[:missing]] = True
    return mask


def scatter(values: Array, mask: Array) -> Array:
    """Return an array of the mask's length with ``values`` where the mask is set and 0 elsewhere.

    Raises:
        PayloadError: if the mask has not as many set as there are values.
    """
    if int(np.count_nonzero(mask)) != values.size:
        raise PayloadError(f"expected a mask with {values.size} set, got {int(np.count_nonzero(mask))}")
    full = np.zeros(mask.size, dtype=np.float32)
    full[mask] = values
    return full
