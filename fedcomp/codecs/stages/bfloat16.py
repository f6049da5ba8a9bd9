"""Brain floats: 16 bits a value with the range of 32."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.bfloat import from_bfloat16, to_bfloat16
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class BFloat16(Stage):
    """Rounds to bfloat16, half of a float32 (nearest, ties to even).

    As few bits as ``float16`` with the range of float32 and 8 bits of precision in place of 11. (Kalamkar et al. 2019.)
    """

    id: ClassVar[str] = "bfloat16"
    data_dependent = False
    biased = True
    bound: ClassVar[str] = "2^-8 of the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with the bits of bfloat16 values."""
        return Form(Spec(np.dtype(np.uint16), form.require_floats()), form.streams, form.shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value."""
        return Packet(to_bfloat16(packet.values), packet.streams)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Widen every value."""
        return Packet(from_bfloat16(packet.values), packet.streams)

    def max_error(self, values: Array) -> float | None:
        """Return half a unit in the last place of the largest value, or of the smallest normal one."""
        return max(peak_of(values) * 2.0**-8, 2.0**-134)
