"""Subtractively dithered quantization: unbiased, with an error that does not depend on the value."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.options import number
from fedcomp.codecs.public import public_seed, public_words, read_seed
from fedcomp.codecs.quantize import MAX_STEP_RMS, MIN_STEP_RMS, peak_of, read_scale, relative_step
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

_DOMAIN = 2


@dataclass(frozen=True)
class Dither(Stage):
    """Quantizes like step, but unbiased: values are shifted by a public dither, and back on decoding.

    The step is ``step_rms`` times the root mean square of the values. The error is uniform on half a step either way,
    has expectation 0 and is independent of the value (Schuchman 1964; Ziv 1985). Follow it by ``rans``. The dither
    comes from a seed in the payload: it hides nothing from the receiver, and is no privacy noise.
    """

    step_rms: float = number(2.0, MIN_STEP_RMS, MAX_STEP_RMS)
    id: ClassVar[str] = "dither"
    bound: ClassVar[str] = "half a step"
    data_dependent = True
    biased = False

    def form(self, form: Form) -> Form:
        """Return the form with int32 levels, one more step and one more seed."""
        levels = Spec(np.dtype(np.int32), form.require_floats())
        return Form(levels, (*form.streams, Spec(np.dtype(np.float32), 1), Spec(np.dtype(np.uint64), 1)))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value minus its dither to a multiple of the step."""
        seed = public_seed(rng)
        step = relative_step(packet.values, self.step_rms)
        levels = np.zeros(packet.values.size, dtype=np.int32)
        if step:
            levels = np.rint(packet.values / step - dither(seed, packet.values.size)).astype(np.int32)
        scale = np.array([step], dtype=np.float32)
        return Packet(levels, (*packet.streams, scale, np.array([seed], dtype=np.uint64)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Add the same dither to every level and multiply by the step."""
        *streams, scale, seed = packet.streams
        shifted = packet.values.astype(np.float32) + dither(read_seed(seed), packet.values.size)
        return Packet(shifted * read_scale(scale), tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return half a step."""
        step = float(relative_step(values, self.step_rms))
        return step / 2 if step else peak_of(values)


def dither(seed: int, size: int) -> NDArray[np.float32]:
    """Return ``size`` values uniform on the odd multiples of 2**-25 in (-0.5, 0.5); each is exact in float32."""
    odd = (public_words(seed, _DOMAIN, size) >> np.uint32(8)).astype(np.int32) * 2 + (1 - 2**24)
    return odd.astype(np.float32) * np.float32(2.0**-25)
