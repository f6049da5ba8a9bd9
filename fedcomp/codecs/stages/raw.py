"""Nothing is done: every array travels bit for bit."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.stage import Form, Packet, Stage


@dataclass(frozen=True)
class Raw(Stage):
    """Carries every array of every dtype bit for bit; stands alone."""

    id: ClassVar[str] = "raw"
    bound: ClassVar[str] = "0"
    linear = True
    data_dependent = False
    biased = False

    def form(self, form: Form) -> Form:
        """Return the form as it is."""
        return form

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Return the packet as it is."""
        return packet

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Return the packet as it is."""
        return packet

    def max_error(self, values: Array) -> float | None:
        """Return 0."""
        return 0.0
