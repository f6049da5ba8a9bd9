"""Low rank: every matrix as a sum of a few outer products."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.options import integer
from fedcomp.codecs.stage import Form, Packet, Shape, Spec, Stage
from fedcomp.codecs.tensors import tensors


@dataclass(frozen=True)
class LowRank(Stage):
    """Sends rank columns and rows in place of each matrix.

    A tensor of two or more dimensions is a matrix: its first dimension by all others. Where ``rank`` columns and rows
    are not fewer values than the matrix has, and for all other tensors, the values go on as they are. One step of power
    iteration starts at the rows of the payload before (``Codec.advance``), without them two at random ones. (PowerSGD:
    Vogels et al. 2019.) Put ``feedback`` before it, and quantizers behind it.
    """

    rank: int = integer(2, 1, 64)
    id: ClassVar[str] = "low-rank"
    data_dependent = True
    biased = True
    private_side = True

    def form(self, form: Form) -> Form:
        """Return the form with factors: all columns of a matrix, then all rows, each with one value after the other."""
        form.require_floats()
        shapes = tuple(part for shape in form.shapes for part in self._parts(shape))
        return Form(Spec(np.dtype(np.float32), sum(map(prod, shapes))), form.streams, shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Factorise every matrix, and keep the rows as the start for the next time."""
        parts, kept = [np.empty(0, dtype=np.float32)], [np.empty(0, dtype=np.float32)]
        starts = _starts(packet.side.memory.get("rows"), [self._matrix(shape) for shape in packet.shapes], self.rank)
        for shape, part in tensors(packet.values, packet.shapes):
            matrix = self._matrix(shape)
            if matrix is None:
                parts.append(part)
                continue
            columns, rows = _factorise(part.reshape(matrix), next(starts), self.rank, rng)
            kept.append(rows.reshape(-1))
            parts += [columns.reshape(-1), rows.reshape(-1)]
        return Packet(np.concatenate(parts), packet.streams, memory={"rows": np.concatenate(kept)})

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Add up the outer products."""
        values = np.empty(form.require_floats(), dtype=np.float32)
        shapes = [part for shape in form.shapes for part in self._parts(shape)]
        found = tensors(packet.values, shapes)
        for shape, whole in tensors(values, form.shapes):
            matrix = self._matrix(shape)
            _, first = next(found)
            if matrix is None:
                whole[:] = first
            else:
                _, second = next(found)
                _multiply(first.reshape(self.rank, -1), second.reshape(self.rank, -1), whole.reshape(matrix))
        return Packet(values, packet.streams)

    def max_error(self, values: Array) -> float | None:
        """Return None: it depends on the singular values that are dropped."""
        return None

    def _matrix(self, shape: Shape) -> tuple[int, int] | None:
        """Return the shape of the matrix that a tensor is, or None if its values go on as they are."""
        if len(shape) < 2 or prod(shape) == 0:
            return None
        height, width = shape[0], prod(shape[1:])
        return (height, width) if self.rank * (height + width) < height * width else None

    def _parts(self, shape: Shape) -> tuple[Shape, ...]:
        """Return the shapes of what a tensor becomes."""
        matrix = self._matrix(shape)
        return (shape,) if matrix is None else ((self.rank, matrix[0]), (self.rank, matrix[1]))


def _starts(
    memory: Array | None, matrices: Sequence[tuple[int, int] | None], rank: int
) -> Iterator[NDArray[np.float32] | None]:
    """Yield the rows to start each matrix at; None for all of them if the memory is not theirs."""
    shapes = [(rank, matrix[1]) for matrix in matrices if matrix is not None]
    if memory is None or memory.shape != (sum(map(prod, shapes)),) or not np.isfinite(memory).all():
        yield from [None] * len(shapes)
        return
    for shape, part in tensors(memory, shapes):
        yield np.asarray(part.reshape(shape), dtype=np.float32)


def _factorise(
    matrix: Array, start: NDArray[np.float32] | None, rank: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return ``rank`` orthonormal columns and the rows that belong to them, each factor with one of them a line."""
    rows = rng.standard_normal((rank, matrix.shape[1]), dtype=np.float32)
    if start is not None:
        # A row that has become 0 would stay 0 for ever.
        alive = start.any(axis=1)
        rows[alive] = start[alive]
    for _ in range(1 if start is not None else 2):
        columns = _orthonormal(matrix @ _orthonormal(rows.T)).T
        rows = columns @ matrix
    return columns, rows


def _orthonormal(columns: Array) -> NDArray[np.float32]:
    """Return an orthonormal basis of the columns' span, and of more if they are dependent."""
    peak = float(np.abs(columns).max())
    basis, _ = np.linalg.qr(columns.astype(np.float64) / (peak or 1.0))
    return np.ascontiguousarray(basis, dtype=np.float32)


def _multiply(columns: Array, rows: Array, product: NDArray[np.float32]) -> None:
    """Write the sum of outer products: one rounding an operation, in order, so equal on every platform."""
    np.multiply(columns[0][:, None], rows[0], out=product)
    for column, row in zip(columns[1:], rows[1:], strict=True):
        product += column[:, None] * row
