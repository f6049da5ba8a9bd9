"""Uniform quantization with a fixed number of bits, scaled to the largest magnitude."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import flag, integer
from fedcomp.codecs.quantize import peak_of, read_scale
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class Uniform(Stage):
    """Quantizes to 2**bit_width - 1 levels between plus and minus the largest magnitude.

    ``stochastic_rounding`` makes it unbiased at twice the largest error (QSGD: Alistarh et al. 2017).
    """

    bit_width: int = integer(4, 2, 8)
    stochastic_rounding: bool = flag(default=True)
    id: ClassVar[str] = "uniform"
    bound: ClassVar[str] = "half a step, a whole one with stochastic rounding"
    data_dependent = True

    @property
    def biased(self) -> bool:
        """Whether values are rounded to the nearest level."""
        return not self.stochastic_rounding

    @property
    def top_level(self) -> int:
        """The largest level."""
        return (1 << (self.bit_width - 1)) - 1

    def form(self, form: Form) -> Form:
        """Return the form with int8 levels and one more scale."""
        levels = Spec(np.dtype(np.int8), form.require_floats())
        return Form(levels, (*form.streams, Spec(np.dtype(np.float32), 1)))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value to a level."""
        step = self._step(packet.values)
        levels = packet.values / step if step else np.zeros_like(packet.values)
        if self.stochastic_rounding:
            levels = np.floor(levels + rng.random(levels.size, dtype=np.float32))
        levels = np.clip(np.rint(levels), -self.top_level, self.top_level).astype(np.int8)
        return Packet(levels, (*packet.streams, np.array([step], dtype=np.float32)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Multiply every level by the step."""
        step = read_scale(packet.streams[-1])
        if packet.values.size and max(packet.values.max(), -int(packet.values.min())) > self.top_level:
            raise PayloadError(f"expected levels in [-{self.top_level}, {self.top_level}], got a larger one")
        return Packet(packet.values * step, packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return half a step, or a whole one with stochastic rounding."""
        step = float(self._step(values))
        if not step:
            return peak_of(values)
        return step if self.stochastic_rounding else step / 2

    def _step(self, values: Array) -> np.float32:
        step = np.float32(peak_of(values) / self.top_level)
        return step if step >= np.finfo(np.float32).tiny else np.float32(0)
