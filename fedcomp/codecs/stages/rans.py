"""Entropy coding of everything that has been set aside so far."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.entropy.stream import read_stream, write_stream
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

_SHORTEST = 64


@dataclass(frozen=True)
class Rans(Stage):
    """Brings masks, levels and halves to nearly their entropy.

    Codes the values, and every stream of 64 entries or more. Asymmetric numeral systems (Duda 2013) with one static
    table a stream; all of them become one section of bytes. What is shorter, a scale or a seed, stays a stream.
    """

    id: ClassVar[str] = "rans"
    bound: ClassVar[str] = "0"
    data_dependent = True
    biased = False

    def form(self, form: Form) -> Form:
        """Return the form with bytes as values and the short streams alone."""
        if form.values.length is None:
            raise ValueError("expected values that are not entropy-coded yet, got coded ones")
        return Form(Spec(np.dtype(np.uint8), None), tuple(spec for spec in form.streams if not _is_long(spec)))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Code everything that is long enough, and the values."""
        long = [stream for stream in packet.streams if stream.size >= _SHORTEST]
        short = tuple(stream for stream in packet.streams if stream.size < _SHORTEST)
        return Packet(np.frombuffer(write_stream([*long, packet.values]), dtype=np.uint8), short)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Decode what was coded, and put the streams back in their order."""
        specs = [spec for spec in form.streams if _is_long(spec)]
        *long, values = read_stream(packet.values.data, [*specs, form.values])
        coded, short = iter(long), iter(packet.streams)
        return Packet(values, tuple(next(coded if _is_long(spec) else short) for spec in form.streams))

    def max_error(self, values: Array) -> float | None:
        """Return 0."""
        return 0.0


def _is_long(spec: Spec) -> bool:
    return (spec.length or 0) >= _SHORTEST
