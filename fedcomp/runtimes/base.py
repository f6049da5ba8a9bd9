"""The Runtime contract: a module and a number format in, a file's bytes out; and the bytes opened to be run."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.errors import FedcompError


class ExportError(FedcompError):
    """The model could not be exported, or the exported one does not compute the same."""


Program = Callable[[NDArray[Any]], NDArray[Any]]
"""Outputs ``[n, ...]`` of rows ``[n, ...]``, float32 or int64."""


class Runtime(ABC):
    """One program that runs models.

    Guarantee: ``build`` leaves the module and torch's global generator as they came; what ``open`` returns answers as
    the module does, within the error of its number format, which ``relative_error`` measures; nothing is sent anywhere,
    ever.
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

        ``rows [n, ...]``, at least 2, float or whole numbers (tokens), give the shape, are what outputs are compared
        on, and calibrate the ranges of activations where ``number_format`` is in ``calibrated``: only there does the
        file depend on their values. An fp32 file's outputs are compared here; those of other formats differ by design,
        and it is the caller who measures by how much and says what is too much.

        Raises:
            ExportError: if the runtime is missing or cannot run such a model, or an fp32 file's ``relative_error`` is
                above 0.001.
            ValueError: for a number format that this runtime does not have, or too few rows.
        """

    def build_all(
        self, module: nn.Module, rows: NDArray[Any], number_formats: Sequence[str]
    ) -> Iterator[tuple[str, "bytes | ExportError"]]:
        """Yield each number format with what ``build`` returns, or with why this module has no such file.

        For whoever wants several: a runtime whose formats share an export makes it once.

        Raises:
            ValueError: as ``build``.
        """
        for number_format in number_formats:
            try:
                yield number_format, self.build(module, rows, number_format)
            except ExportError as error:
                yield number_format, error

    @abstractmethod
    def open(self, content: bytes, threads: int = 1) -> Program:
        """Return the program in a file's bytes.

        Raises:
            ExportError: if the bytes are not such a file or the runtime is missing, naming it.
        """


def relative_error(module: nn.Module, program: Program, rows: NDArray[Any]) -> float:
    """Return the L2 norm of what the program's outputs differ by from the module's, over the norm of the module's.

    Of all rows at once and of the first alone, the larger: programs are made for any batch size, and a batch of one is
    where a wrong one shows. The module is run in eval mode and left as it came.

    Raises:
        ExportError: if the outputs have another shape.
    """
    was_training = module.training
    module.eval()
    try:
        return max(_difference(module, program, part) for part in (rows, rows[:1]))
    finally:
        module.train(was_training)


def _difference(module: nn.Module, program: Program, rows: NDArray[Any]) -> float:
    fed = np.array(rows, dtype=np.float32 if rows.dtype.kind == "f" else np.int64)  # rows on disk may be float16
    with torch.no_grad():
        expected = module(torch.from_numpy(fed)).numpy()
    found = program(fed)
    if found.shape != expected.shape:
        raise ExportError(f"the exported model must return {list(expected.shape)}, got {list(found.shape)}")
    return float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-12)
