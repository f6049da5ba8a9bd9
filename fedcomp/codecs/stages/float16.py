"""Half precision: 16 bits a value."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array, ArraysError
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class Float16(Stage):
    """Rounds to IEEE half precision (nearest, ties to even).

    Magnitudes from 65520 up are refused (``ArraysError``), never saturated.
    """

    id: ClassVar[str] = "float16"
    bound: ClassVar[str] = "2^-11 of the largest magnitude"
    data_dependent = False
    biased = True

    def form(self, form: Form) -> Form:
        """Return the form with float16 values."""
        return Form(Spec(np.dtype(np.float16), form.require_floats()), form.streams)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value."""
        with np.errstate(over="ignore"):
            halves = packet.values.astype(np.float16)
        if not np.isfinite(halves).all():
            raise ArraysError("float16: expected magnitudes below 65520, got a larger one")
        return Packet(halves, packet.streams)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Widen every value."""
        return Packet(packet.values.astype(np.float32), packet.streams)

    def max_error(self, values: Array) -> float | None:
        """Return half a unit in the last place of the largest value, or of the smallest normal one."""
        peak = float(np.abs(values).max(initial=0.0))
        return max(peak * 2.0**-11, 2.0**-25)
