"""Fixed point numbers: a step that is a power of two and known to everybody."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fedcomp.arrays import Array, ArraysError
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import flag, integer
from fedcomp.codecs.quantize import peak_of, round_levels
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class FixedPoint(Stage):
    """Rounds to a sign, integer and fraction bits: the same grid for every payload.

    ``bit_width`` counts the sign; of the other bits ``fraction_bits`` are behind the point, which may be more than
    there are (then all numbers are small). What is larger than the format holds is refused (``ArraysError``), never
    saturated. Levels are whole numbers in the smallest of int8, int16 and int32 that holds them. (Stochastic rounding
    of fixed point numbers: Gupta et al. 2015.)
    """

    bit_width: int = integer(16, 2, 24)
    fraction_bits: int = integer(10, 0, 32)
    stochastic_rounding: bool = flag(default=True)
    id: ClassVar[str] = "fixed-point"
    data_dependent = False
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
        """Return the form with levels."""
        return Form(Spec(self._dtype, form.require_floats()), form.streams, form.shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value to a level; raises ``ArraysError`` if there is none as large."""
        peak, limit = peak_of(packet.values), self.top_level * 2.0**-self.fraction_bits
        if peak > limit:
            raise ArraysError(f"fixed-point: expected magnitudes up to {limit:g}, got {peak:g}")
        scaled = packet.values * np.float32(2.0**self.fraction_bits)
        levels = round_levels(scaled, rng if self.stochastic_rounding else None)
        return Packet(levels.astype(self._dtype), packet.streams)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Multiply every level by the step."""
        if packet.values.size and max(int(packet.values.max()), -int(packet.values.min())) > self.top_level:
            raise PayloadError(f"expected levels in [-{self.top_level}, {self.top_level}], got a larger one")
        return Packet(packet.values.astype(np.float32) * np.float32(2.0**-self.fraction_bits), packet.streams)

    def max_error(self, values: Array) -> float | None:
        """Return half a step, or a whole one with stochastic rounding."""
        return 2.0**-self.fraction_bits if self.stochastic_rounding else 2.0 ** -(self.fraction_bits + 1)

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int8 if self.bit_width <= 8 else np.int16 if self.bit_width <= 16 else np.int32)
