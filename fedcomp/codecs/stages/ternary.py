"""Three levels: minus a scale, 0, plus a scale."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import choice, flag, integer
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.scopes import SCALE_ROUNDING, Scope, read_scales, reduce_groups, write_scales
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

_THRESHOLD = np.float32(0.7)
"""The share of the mean magnitude from which on a value is kept: nearly the best one for bell-shaped values."""


@dataclass(frozen=True)
class Ternary(Stage):
    """Keeps a sign and a scale, or 0, of every value.

    With ``stochastic_rounding`` the scale is the largest magnitude of the tensor, channel or block, and a value is kept
    with the probability that makes it unbiased (TernGrad: Wen et al. 2017). Else values above 0.7 of the mean magnitude
    are kept and the scale is their mean (ternary weight networks: Li et al. 2016). Follow it by ``rans``. For sparse
    ternary compression put ``sign`` after ``topk``.
    """

    scope: str = choice("tensor", "channel", "block")
    block_size: int = integer(256, 8, 2**20, default=256)
    stochastic_rounding: bool = flag(default=True)
    id: ClassVar[str] = "ternary"
    data_dependent = True
    bound: ClassVar[str] = "the largest magnitude"

    @property
    def biased(self) -> bool:
        """Whether a threshold decides."""
        return not self.stochastic_rounding

    def form(self, form: Form) -> Form:
        """Return the form with int8 levels and one more stream of scales."""
        levels = Spec(np.dtype(np.int8), form.require_floats())
        return Form(levels, (*form.streams, self._scope.scales(form.shapes)), form.shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Decide which values are kept, and with which scale."""
        sizes, magnitudes = self._scope.sizes(packet.shapes), np.abs(packet.values)
        if self.stochastic_rounding:
            stream = write_scales(reduce_groups(np.maximum, magnitudes, sizes), up=True)
            scales = np.repeat(read_scales(stream), sizes)
            kept = (rng.random(magnitudes.size, dtype=np.float32) * scales < magnitudes) & (scales > 0)
        else:
            means = (reduce_groups(np.add, magnitudes, sizes) / sizes).astype(np.float32)
            kept = magnitudes > np.repeat(_THRESHOLD * means, sizes)
            sums = reduce_groups(np.add, magnitudes * kept, sizes)
            stream = write_scales(sums / np.maximum(reduce_groups(np.add, kept, sizes), 1))
        levels = np.sign(packet.values).astype(np.int8) * kept
        return Packet(levels, (*packet.streams, stream))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Multiply every level by its group's scale."""
        *streams, stream = packet.streams
        scales = read_scales(stream)
        if packet.values.size and max(packet.values.max(), -int(packet.values.min())) > 1:
            raise PayloadError("expected levels in [-1, 1], got a larger one")
        return Packet(packet.values * np.repeat(scales, self._scope.sizes(form.shapes)), tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return the largest scale that there can be."""
        return max(peak_of(values) * (1 + SCALE_ROUNDING), float(np.finfo(np.float32).tiny))

    @property
    def _scope(self) -> Scope:
        return Scope(self.scope, self.block_size)
