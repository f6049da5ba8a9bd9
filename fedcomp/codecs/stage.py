"""A stage of a chain: one step from floats to few bytes, and back."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.options import check_options


@dataclass(frozen=True)
class Spec:
    """Dtype and length of a 1-D array; length None means bytes that an entropy coder wrote."""

    dtype: np.dtype[Any]
    length: int | None

    def fits(self, array: Array) -> bool:
        """Return whether an array is what this describes."""
        return array.dtype == self.dtype and self.length in (None, array.size)


@dataclass(frozen=True)
class Form:
    """What a packet looks like before its bytes are seen: it follows from the layout and the config alone.

    Because of this a decoder knows dtype and length of every section in advance, and refuses all else at once.
    """

    values: Spec
    streams: tuple[Spec, ...] = ()

    def require_floats(self) -> int:
        """Return the number of values, which must be float32; raises ``ValueError`` for the wrong order of stages."""
        if self.values.dtype != np.float32 or self.values.length is None:
            raise ValueError(f"expected float32 values from the stage before, got {self.values.dtype}")
        return self.values.length


@dataclass(frozen=True, eq=False)
class Packet:
    """What travels along a chain.

    ``values`` (1-D) is what the next stage works on; ``streams`` (1-D each) is what the stages before set aside: a
    mask, a scale, a seed. A stage pushes to the end and its inverse pops from the end.
    """

    values: Array
    streams: tuple[Array, ...] = ()


class Stage(ABC):
    """One step of a chain: a frozen dataclass whose fields are its options.

    ``inverse`` gets a packet whose dtypes and lengths the chain has checked against ``form``; the contents may still
    be hostile (NaN scales, levels out of range), and it refuses those with ``PayloadError``. It returns a packet of
    the form that it is given, so that the stage before may rely on it.
    """

    id: ClassVar[str]

    def __post_init__(self) -> None:
        """Check and normalise the options; raises ``ValueError`` that names the option."""
        check_options(self)

    @property
    @abstractmethod
    def data_dependent(self) -> bool:
        """Whether what it sends besides the values, or its length, depends on the values."""

    @property
    @abstractmethod
    def biased(self) -> bool:
        """Whether the expectation of what comes back, over the generator, differs from what went in."""

    @abstractmethod
    def form(self, form: Form) -> Form:
        """Return the form after ``forward``; raises ``ValueError`` if the stage cannot follow the ones before it."""

    @abstractmethod
    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Return the packet one step further; the arrays of ``packet`` stay untouched."""

    @abstractmethod
    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Return a packet of ``form``, the one that ``forward`` was given.

        Raises:
            PayloadError: if the contents of the packet are impossible.
        """

    @abstractmethod
    def max_error(self, values: Array) -> float | None:
        """Return a bound on the absolute error that this stage alone makes on ``values``, or None."""

    def config(self) -> dict[str, Any]:
        """Return the stage's id and options as JSON values."""
        return {"id": self.id} | {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
