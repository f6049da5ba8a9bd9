"""The difference to what both ends hold."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.reference import FINGERPRINT, check_fingerprint, fingerprint, require_reference
from fedcomp.codecs.stage import Form, Packet, Stage


@dataclass(frozen=True)
class Delta(Stage):
    """Codes the difference to the reference, whose fingerprint travels.

    No other reference is ever decoded against. Worth it where the arrays are a model and the reference is an older
    version of it; an update is a difference already.
    """

    id: ClassVar[str] = "delta"
    bound: ClassVar[str] = "what float32 rounds off"
    data_dependent = False
    biased = False
    needs_reference = True

    def form(self, form: Form) -> Form:
        """Return the form with one more fingerprint."""
        form.require_whole()
        return Form(form.values, (*form.streams, FINGERPRINT), form.shapes, form.whole)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Subtract the reference."""
        reference = require_reference(packet)
        return Packet(packet.values - reference, (*packet.streams, fingerprint(reference)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Add the reference."""
        *streams, mark = packet.streams
        reference = require_reference(packet)
        check_fingerprint(mark, reference)
        return Packet(packet.values + reference, tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return what float32 rounds off of a difference and a sum if the reference is no larger than the values."""
        return peak_of(values) * 2.0**-22
