"""Structured pruning: whole rows or channels of every tensor."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import choice, number
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.stage import Form, Packet, Shape, Spec, Stage
from fedcomp.codecs.stages.topk import largest, num_kept
from fedcomp.codecs.tensors import tensors


@dataclass(frozen=True)
class Structured(Stage):
    """Keeps the share density of each tensor's rows or channels, those of the largest norm.

    Rows are indices of the first dimension (output units, filters), channels of the second (inputs). Tensors of one
    dimension are kept whole. A mask of one bit a row travels, and its length does not depend on the values. (Filter
    pruning: Li et al. 2017.)
    """

    density: float = number(0.25, 0, 1, open_low=True)
    axis: str = choice("rows", "channels")
    id: ClassVar[str] = "structured"
    data_dependent = True
    biased = True
    bound: ClassVar[str] = "the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with fewer values and one more mask."""
        form.require_floats()
        shapes = tuple(self._kept_shape(shape) for shape in form.shapes)
        mask = Spec(np.dtype(np.bool_), sum(shape[self._axis] for shape in form.shapes if len(shape) > 1))
        return Form(Spec(np.dtype(np.float32), sum(map(prod, shapes))), (*form.streams, mask), shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Keep the largest rows of every tensor."""
        parts, masks = [np.empty(0, dtype=np.float32)], [np.empty(0, dtype=np.bool_)]
        for shape, part in tensors(packet.values, packet.shapes):
            kept = part
            if len(shape) > 1:
                rows = np.moveaxis(part.reshape(shape), self._axis, 0)
                mask = largest(_energies(rows), num_kept(len(rows), self.density))
                masks.append(mask)
                kept = np.moveaxis(rows[mask], 0, self._axis).reshape(-1)
            parts.append(kept)
        return Packet(np.concatenate(parts), (*packet.streams, np.concatenate(masks)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Put the kept rows back to their places."""
        *streams, marks = packet.streams
        values, at = np.zeros(form.require_floats(), dtype=np.float32), 0
        kept = tensors(packet.values, tuple(self._kept_shape(shape) for shape in form.shapes))
        for (shape, whole), (kept_shape, part) in zip(tensors(values, form.shapes), kept, strict=True):
            if len(shape) < 2:
                whole[:] = part
                continue
            mask = marks[at : at + shape[self._axis]]
            at += shape[self._axis]
            if int(np.count_nonzero(mask)) != kept_shape[self._axis]:
                raise PayloadError(f"expected a mask with {kept_shape[self._axis]} set, got another number")
            rows = np.moveaxis(whole.reshape(shape), self._axis, 0)
            rows[mask] = np.moveaxis(part.reshape(kept_shape), self._axis, 0)
        return Packet(values, tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return the largest magnitude: a tensor's smallest row may be larger than another's largest."""
        return 0.0 if self.density == 1 else peak_of(values)

    @property
    def _axis(self) -> int:
        return ("rows", "channels").index(self.axis)

    def _kept_shape(self, shape: Shape) -> Shape:
        if len(shape) < 2:
            return shape
        return (*shape[: self._axis], num_kept(shape[self._axis], self.density), *shape[self._axis + 1 :])


def _energies(rows: Array) -> NDArray[np.float64]:
    """Return the sum of squares of every row."""
    return np.asarray(np.square(rows, dtype=np.float64).sum(axis=tuple(range(1, rows.ndim))))
