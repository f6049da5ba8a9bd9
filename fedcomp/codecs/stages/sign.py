"""One bit a value: its sign, times the mean magnitude."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.options import choice, integer
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.scopes import SCALE_ROUNDING, Scope, read_scales, reduce_groups, write_scales
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class Sign(Stage):
    """Keeps the signs alone, and the mean magnitude of every tensor, channel or block.

    Scaled signSGD (Bernstein et al. 2018; Karimireddy et al. 2019). Biased: put ``feedback`` before it. After ``topk``
    it is sparse ternary compression (Sattler et al. 2019), which ``rans`` completes.
    """

    scope: str = choice("tensor", "channel", "block")
    block_size: int = integer(256, 8, 2**20, default=256)
    id: ClassVar[str] = "sign"
    data_dependent = True
    biased = True
    bound: ClassVar[str] = "the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with one bool a value and one more stream of scales."""
        signs = Spec(np.dtype(np.bool_), form.require_floats())
        return Form(signs, (*form.streams, self._scope.scales(form.shapes)), form.shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Take the signs and the means; 0 counts as positive."""
        sizes = self._scope.sizes(packet.shapes)
        means = reduce_groups(np.add, np.abs(packet.values), sizes) / sizes
        return Packet(packet.values < 0, (*packet.streams, write_scales(means)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Give every scale its signs."""
        *streams, stream = packet.streams
        values = np.repeat(read_scales(stream), self._scope.sizes(form.shapes))
        values.view(np.uint32)[:] ^= packet.values.astype(np.uint32) << np.uint32(31)
        return Packet(values, tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude: a mean is no larger, and has the sign of the value."""
        return peak_of(values) * (1 + SCALE_ROUNDING)

    @property
    def _scope(self) -> Scope:
        return Scope(self.scope, self.block_size)
