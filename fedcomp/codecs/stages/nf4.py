"""Four bits a value from a code book for bell-shaped values."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import integer
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.scopes import SCALE_ROUNDING, Scope, read_scales, reduce_groups, write_scales
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

# fmt: off
BOOK: NDArray[np.float32] = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
], dtype=np.float32)
"""The published values: quantiles of a Gaussian, scaled to plus and minus 1."""
# fmt: on
_BORDERS = (BOOK[1:] + BOOK[:-1]) / np.float32(2)
_WIDEST = float(np.diff(BOOK).max())


@dataclass(frozen=True)
class NF4(Stage):
    """Rounds to the nearest of 16 quantiles of a Gaussian, scaled to each block's largest magnitude.

    NormalFloat, the four-bit format of QLoRA (Dettmers et al. 2023): two codes a byte and a bfloat16 a block.
    """

    block_size: int = integer(64, 8, 2**20, default=64)
    id: ClassVar[str] = "nf4"
    data_dependent = True
    biased = True
    bound: ClassVar[str] = "0.152 of the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with bytes of two codes and one more stream of scales."""
        size = form.require_floats()
        return Form(Spec(np.dtype(np.uint8), -(-size // 2)), (*form.streams, self._scope.scales(form.shapes)))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Find the nearest code of every value, and pack them."""
        sizes = self._scope.sizes(packet.shapes)
        stream = write_scales(reduce_groups(np.maximum, np.abs(packet.values), sizes), up=True)
        scales = read_scales(stream)
        scaled = packet.values / np.repeat(np.where(scales > 0, scales, np.float32(1)), sizes)
        codes = np.zeros(scaled.size + scaled.size % 2, dtype=np.uint8)
        for border in _BORDERS:
            codes[: scaled.size] += scaled > border
        return Packet(codes[::2] | codes[1::2] << 4, (*packet.streams, stream))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Look every code up and multiply it by its block's scale."""
        *streams, stream = packet.streams
        size = form.require_floats()
        codes = np.stack([packet.values & 15, packet.values >> 4], axis=1).reshape(-1)
        if codes[size:].any():
            raise PayloadError("expected zero bits after the last code")
        return Packet(
            BOOK[codes[:size]] * np.repeat(read_scales(stream), self._scope.sizes(form.shapes)), tuple(streams)
        )

    def max_error(self, values: Array) -> float | None:
        """Return half of the widest gap of the code book, scaled to the largest magnitude."""
        peak = peak_of(values)
        return max(peak * _WIDEST / 2 * (1 + SCALE_ROUNDING), min(peak, float(np.finfo(np.float32).tiny)))

    @property
    def _scope(self) -> Scope:
        return Scope("block", self.block_size)
