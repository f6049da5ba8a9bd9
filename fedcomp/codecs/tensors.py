"""The tensors that a vector of values is."""

from collections.abc import Iterator, Sequence
from math import prod

from fedcomp.arrays import Array
from fedcomp.codecs.stage import Shape


def tensors(values: Array, shapes: Sequence[Shape]) -> Iterator[tuple[Shape, Array]]:
    """Yield every shape with its part of the values, 1-D and a view."""
    at = 0
    for shape in shapes:
        yield shape, values[at : at + prod(shape)]
        at += prod(shape)
