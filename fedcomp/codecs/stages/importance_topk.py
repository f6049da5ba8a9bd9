"""Pruning by importance: what the encoder knows about how much each value matters."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array, ArraysError
from fedcomp.codecs.options import number
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept, scatter


@dataclass(frozen=True)
class ImportanceTopK(Stage):
    """Keeps the share density of the values with the largest magnitude times importance.

    The importance comes with the context, one number per value that is not negative: squared gradients, say (the
    diagonal of the Fisher information: Theis et al. 2018). In a run it is the weight's magnitude after the update, so
    that what moves a large weight goes first (Molchanov et al. 2019). Without it nothing is encoded. It is private data
    that need not have been noised with the update, so mode ``local`` does not admit it.
    """

    density: float = number(0.05, 0, 1, open_low=True)
    id: ClassVar[str] = "importance-topk"
    data_dependent = True
    biased = True
    private_side = True
    needs_importance = True
    bound: ClassVar[str] = "the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with fewer values and one more mask."""
        size = form.require_whole()
        mask = Spec(np.dtype(np.bool_), size)
        return Form(Spec(np.dtype(np.float32), num_kept(size, self.density)), (*form.streams, mask))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Keep the values that matter most; raises ``ArraysError`` if nobody says which ones."""
        importance = packet.side.importance
        if importance is None:
            raise ArraysError("importance: expected how much each value matters, got none")
        if importance.min(initial=0) < 0:
            raise ArraysError(f"importance: expected numbers that are not negative, got {importance.min()}")
        # The product of two float32 is exact in float64: nothing overflows, and nothing becomes equal.
        scores = np.abs(packet.values.astype(np.float64) * importance)
        mask = largest(scores, num_kept(scores.size, self.density))
        return Packet(packet.values[mask], (*packet.streams, mask))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Put the kept values back to their places."""
        return Packet(scatter(packet.values, packet.streams[-1]), packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude, which need not be the most important."""
        return 0.0 if self.density == 1 else peak_of(values)
