"""Pruning by magnitude within each layer."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import number
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.stage import Form, Packet, Shape, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept, scatter
from fedcomp.codecs.tensors import tensors


@dataclass(frozen=True)
class LayerTopK(Stage):
    """Keeps the share density of each array's values that is largest in magnitude.

    Like ``topk``, but no layer is starved by another one of a larger scale: every array keeps exactly ``num_kept`` of
    its own values, and at least one. (Per-layer magnitude pruning: Han et al. 2015.)
    """

    density: float = number(0.05, 0, 1, open_low=True)
    id: ClassVar[str] = "layer-topk"
    data_dependent = True
    biased = True
    bound: ClassVar[str] = "the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with fewer values and one more mask."""
        mask = Spec(np.dtype(np.bool_), form.require_floats())
        kept = tuple((self._kept(shape),) for shape in form.shapes)
        return Form(Spec(np.dtype(np.float32), sum(map(prod, kept))), (*form.streams, mask), kept)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Keep the largest magnitudes of every tensor."""
        mask = np.empty(packet.values.size, dtype=np.bool_)
        parts = tensors(np.abs(packet.values), packet.shapes)
        for (shape, magnitudes), (_, marks) in zip(parts, tensors(mask, packet.shapes), strict=True):
            marks[:] = largest(magnitudes, self._kept(shape))
        return Packet(packet.values[mask], (*packet.streams, mask))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Put the kept values back to their places."""
        mask = packet.streams[-1]
        for shape, marks in tensors(mask, form.shapes):
            if int(np.count_nonzero(marks)) != self._kept(shape):
                raise PayloadError(f"expected a mask with {self._kept(shape)} set in one array, got another number")
        return Packet(scatter(packet.values, mask), packet.streams[:-1])

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude: all of a small array's values may be larger than those that others keep."""
        return 0.0 if self.density == 1 else peak_of(values)

    def _kept(self, shape: Shape) -> int:
        return num_kept(prod(shape), self.density)
