"""A stage of a chain: one step from floats to few bytes, and back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.context import NOTHING, Side
from fedcomp.codecs.options import check_options

Shape = tuple[int, ...]


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
    shapes: tuple[Shape, ...] = ()
    """Shapes of the tensors that the values are, one after the other; one flat tensor if left out."""
    whole: bool = False
    """Whether the values are still all floating point values of the arrays, in their order and shapes."""

    def __post_init__(self) -> None:
        """Take the values to be one flat tensor if no shapes are given."""
        if not self.shapes and self.values.length is not None:
            object.__setattr__(self, "shapes", ((self.values.length,),))

    def require_floats(self) -> int:
        """Return the number of values, which must be float32; raises ``ValueError`` for the wrong order of stages."""
        if self.values.dtype != np.float32 or self.values.length is None:
            raise ValueError(f"expected float32 values from the stage before, got {self.values.dtype}")
        return self.values.length

    def require_whole(self) -> int:
        """Return the number of values, which must be all of the arrays'; raises ``ValueError`` for the wrong order."""
        size = self.require_floats()
        if not self.whole:
            raise ValueError("expected all values of the arrays, got what a stage before left of them")
        return size


@dataclass(frozen=True, eq=False)
class Packet:
    """What travels along a chain.

    ``values`` (1-D) is what the next stage works on; ``streams`` (1-D each) is what the stages before set aside: a
    mask, a scale, a seed. A stage pushes to the end and its inverse pops from the end. ``shapes`` and ``side`` are
    the chain's to set, before each stage; what a stage returns as ``memory`` it gets back in ``side.memory`` with the
    next payload.
    """

    values: Array
    streams: tuple[Array, ...] = ()
    shapes: tuple[Shape, ...] = ()
    side: Side = NOTHING
    memory: Mapping[str, Array] = field(default_factory=dict)


class Stage(ABC):
    """One step of a chain: a frozen dataclass whose fields are its options.

    ``inverse`` gets a packet whose dtypes and lengths the chain has checked against ``form``; the contents may still
    be hostile (NaN scales, levels out of range), and it refuses those with ``PayloadError``. It returns a packet of
    the form that it is given, so that the stage before may rely on it.
    """

    id: ClassVar[str]
    learns: ClassVar[bool] = False
    """Whether ``learn`` is to be called with what the receiver decodes."""
    counts_bytes: ClassVar[bool] = False
    """Whether ``side.overhead`` is to be filled in."""
    needs_reference: ClassVar[bool] = False
    """Whether it cannot work without ``side.reference``, forward and inverse."""
    chooses_by_reference: ClassVar[bool] = False
    """Whether ``forward`` alone needs ``side.reference``."""
    private_side: ClassVar[bool] = False
    """Whether it uses memory or importance, which were not noised with the update."""
    needs_importance: ClassVar[bool] = False
    """Whether it cannot work without ``side.importance``, forward."""
    linear: ClassVar[bool] = False
    """Whether what it sends is a public linear map of the values, so that sums of payloads are payloads of sums."""
    bound: ClassVar[str] = "none"
    """The error bound of ``max_error`` in words."""

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

    def learn(self, sent: Array, received: Array) -> Mapping[str, Array]:
        """Return what to keep for the next payload, after values ``sent`` by ``forward`` were decoded as ``received``.

        Called if ``learns``; both are float32 of the length of the values.
        """
        return {}

    def symbols(self, packet: Packet, form: Form) -> Array | None:
        """Return the symbols that an entropy coder coded, one a value; None if they are what ``inverse`` returns."""
        return None

    def config(self) -> dict[str, Any]:
        """Return the stage's id and options as JSON values."""
        return {"id": self.id} | {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
