"""Uniform quantization with a fixed number of bits and a scale a tensor, channel or block."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import choice, flag, integer
from fedcomp.codecs.quantize import peak_of, round_levels
from fedcomp.codecs.scopes import SCALE_ROUNDING, Scope, read_scales, reduce_groups, write_scales
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class BlockUniform(Stage):
    """Quantizes like uniform, with a step for every tensor, channel or block of values.

    A channel is an index of the first dimension, in tensors of two or more. Steps are bfloat16, rounded up. Eight bits
    and nearest rounding are the well-known int8 with a largest magnitude a block (Dettmers et al. 2022); stochastic
    rounding makes it unbiased (QSGD with buckets: Alistarh et al. 2017). Follow it by ``rans``: a level takes a byte.
    """

    bit_width: int = integer(8, 2, 8)
    scope: str = choice("block", "channel", "tensor")
    block_size: int = integer(64, 8, 2**20, default=64)
    stochastic_rounding: bool = flag(default=True)
    id: ClassVar[str] = "block-uniform"
    data_dependent = True
    bound: ClassVar[str] = "half a step, a whole one with stochastic rounding"

    @property
    def biased(self) -> bool:
        """Whether values are rounded to the nearest level."""
        return not self.stochastic_rounding

    @property
    def top_level(self) -> int:
        """The largest level."""
        return (1 << (self.bit_width - 1)) - 1

    def form(self, form: Form) -> Form:
        """Return the form with int8 levels and one more stream of steps."""
        levels = Spec(np.dtype(np.int8), form.require_floats())
        return Form(levels, (*form.streams, self._scope.scales(form.shapes)), form.shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value to a level."""
        sizes = self._scope.sizes(packet.shapes)
        peaks = reduce_groups(np.maximum, np.abs(packet.values), sizes)
        stream = write_scales(peaks / self.top_level, up=True)
        steps = read_scales(stream)
        # Where the step is 0 all values are far below 1, and become level 0.
        scaled = packet.values / np.repeat(np.where(steps > 0, steps, np.float32(1)), sizes)
        rounded = round_levels(scaled, rng if self.stochastic_rounding else None)
        levels = np.clip(rounded, -self.top_level, self.top_level).astype(np.int8)
        return Packet(levels, (*packet.streams, stream))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Multiply every level by the step of its group."""
        *streams, stream = packet.streams
        steps = read_scales(stream)
        if packet.values.size and max(packet.values.max(), -int(packet.values.min())) > self.top_level:
            raise PayloadError(f"expected levels in [-{self.top_level}, {self.top_level}], got a larger one")
        return Packet(packet.values * np.repeat(steps, self._scope.sizes(form.shapes)), tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return half a step of the group that has the largest magnitude, or a whole one with stochastic rounding."""
        peak = peak_of(values)
        step = peak / self.top_level * (1 + SCALE_ROUNDING)
        below_scales = min(peak, self.top_level * float(np.finfo(np.float32).tiny))
        return max(step if self.stochastic_rounding else step / 2, below_scales)

    @property
    def _scope(self) -> Scope:
        return Scope(self.scope, self.block_size)
