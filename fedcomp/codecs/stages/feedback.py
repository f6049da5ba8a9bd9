"""Error feedback: what a payload lost is added to the next one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.options import number
from fedcomp.codecs.stage import Form, Packet, Stage


@dataclass(frozen=True)
class Feedback(Stage):
    """Adds decay times what the payloads before lost, so that a biased codec loses nothing for ever.

    The residual is kept by the encoder (``Codec.advance``) and never travels. It is private data like the update: a
    raw one may not outlive its mechanism, and is added before a clip; that of a noised update is post-processing.
    (Error feedback: Seide et al. 2014; Karimireddy et al. 2019.)
    """

    decay: float = number(1.0, 0, 1, open_low=True)
    id: ClassVar[str] = "feedback"
    bound: ClassVar[str] = "0"
    data_dependent = False
    biased = False
    learns = True
    private_side = True

    def form(self, form: Form) -> Form:
        """Return the form as it is."""
        form.require_whole()
        return form

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Add what was lost; the first time, and after the shapes have changed, that is nothing."""
        residual = packet.side.memory.get("residual")
        if residual is None or residual.shape != packet.values.shape:
            return Packet(packet.values, packet.streams)
        return Packet(packet.values + np.float32(self.decay) * residual, packet.streams)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Return the packet as it is."""
        return packet

    def learn(self, sent: Array, received: Array) -> Mapping[str, Array]:
        """Keep the difference."""
        return {"residual": sent - received}

    def max_error(self, values: Array) -> float | None:
        """Return 0: an update is decoded as itself plus the residual, and without one as itself."""
        return 0.0
