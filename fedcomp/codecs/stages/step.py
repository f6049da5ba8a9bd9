"""Uniform quantization with a step in units of the root mean square: the entropy coder decides about the bits."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.options import number
from fedcomp.codecs.quantize import MAX_STEP_RMS, MIN_STEP_RMS, peak_of, read_scale, relative_step
from fedcomp.codecs.stage import Form, Packet, Spec, Stage


@dataclass(frozen=True)
class Step(Stage):
    """Quantizes with a step of step_rms times the root mean square, to as many levels as that takes.

    One step for all values together; the entropy coder gives each what it needs. A magnitude goes up to the next
    level from the share ``dead_zone`` of a step on: 0.5 is the nearest level, more widens the zone around 0, which
    spends fewer bits at low rates. Follow it by ``rans``. (Entropy-coded scalar quantization: Gish and Pierce 1968;
    dead zone: Sullivan 1996.)
    """

    step_rms: float = number(1.0, MIN_STEP_RMS, MAX_STEP_RMS)
    dead_zone: float = number(0.6, 0.5, 1, open_high=True)
    id: ClassVar[str] = "step"
    bound: ClassVar[str] = "dead_zone of a step"
    data_dependent = True
    biased = True

    def form(self, form: Form) -> Form:
        """Return the form with int32 levels and one more step."""
        levels = Spec(np.dtype(np.int32), form.require_floats())
        return Form(levels, (*form.streams, Spec(np.dtype(np.float32), 1)))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Round every value to a multiple of the step."""
        step = relative_step(packet.values, self.step_rms)
        scaled = packet.values / step if step else np.zeros_like(packet.values)
        magnitudes = np.floor(np.abs(scaled) + np.float32(1 - self.dead_zone))
        levels = np.copysign(magnitudes, scaled).astype(np.int32)
        return Packet(levels, (*packet.streams, np.array([step], dtype=np.float32)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Multiply every level by the step."""
        step = read_scale(packet.streams[-1])
        return Packet(packet.values.astype(np.float32) * step, packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return the share ``dead_zone`` of the step."""
        step = float(relative_step(values, self.step_rms))
        return step * self.dead_zone if step else peak_of(values)
