"""The Runtime contract: a module and a number format in, a file's bytes out; and the bytes opened to be run."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import NDArray
from torch import nn

from fedcomp.errors import FedcompError


class ExportError(FedcompError):
    """The model could not be exported, or the exported one does not compute the same."""


Program = Callable[[NDArray[Any]], NDArray[Any]]
"""Outputs ``[n, ...]`` of rows ``[n, ...]``."""


class Runtime(ABC):
    """One program that runs models.

    Guarantee: ``build`` leaves the module as it came; what ``open`` returns answers as the module does, within the
    error of its number format; nothing is sent anywhere, ever.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    """Of its files, with the dot."""
    formats: ClassVar[tuple[str, ...]]
    """Number formats that it can build, ``fp32`` first; see ``build``."""
    calibrated: ClassVar[frozenset[str]]
    """Those of ``formats`` that read calibration rows."""

    @abstractmethod
    def missing(self) -> str | None:
        """Return the command that installs what this runtime lacks on this machine, or None if it lacks nothing."""

    @abstractmethod
    def build(self, module: nn.Module, rows: NDArray[Any], number_format: str = "fp32") -> bytes:
        """Return the file of ``module`` in eval mode, for any batch size.

        ``rows [n, ...]``, at least 2, give the shape, are what outputs are compared on, and calibrate the ranges of
        activations where ``number_format`` is in ``calibrated``: only there does the file depend on their values.

        Raises:
            ExportError: if the runtime is missing or cannot run such a model, or an unquantized file's outputs differ.
            ValueError: for a number format that this runtime does not have.
        """

    @abstractmethod
    def open(self, content: bytes, threads: int = 1) -> Program:
        """Return the program in a file's bytes.

        Raises:
            ExportError: if the bytes are not such a file, naming the runtime.
        """
