"""What runtimes that read ONNX files share: one export, checked, and a pass over its graph for each number format."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.runtimes.base import ExportError, Runtime, relative_error
from fedcomp.runtimes.onnx_file import onnx_bytes

Pass = Callable[[bytes, NDArray[Any]], bytes]
"""From an fp32 file, and rows of the dtype that it eats, to a file in another format."""
_TOLERANCE = 1e-3


class OnnxBased(Runtime):
    """A runtime whose files are ONNX files."""

    suffix: ClassVar[str] = ".onnx"
    passes: ClassVar[Mapping[str, Pass]]
    """For each of ``formats``, what makes it."""

    def build(self, module: nn.Module, rows: NDArray[Any], number_format: str = "fp32") -> bytes:
        """Return the ONNX file; see ``Runtime.build``. A format that changes nothing in the model is refused."""
        ((_, found),) = self.build_all(module, rows, [number_format])
        if isinstance(found, ExportError):
            raise found
        return found

    def build_all(
        self, module: nn.Module, rows: NDArray[Any], number_formats: Sequence[str]
    ) -> Iterator[tuple[str, bytes | ExportError]]:
        """Yield each number format with its file or why there is none; the module is exported once."""
        for each in number_formats:
            if each not in self.formats:
                raise ValueError(f"number_format must be one of {', '.join(self.formats)}, got {each!r}")
        try:
            if (command := self.missing()) is not None:
                raise ExportError(f"building for {self.name} needs packages that are not installed: {command}")
            content, _ = onnx_bytes(module, rows)
            error = relative_error(module, self.open(content), rows)
            if not error <= _TOLERANCE:
                raise ExportError(f"{self.name}'s outputs must be within {_TOLERANCE} of PyTorch's, got {error:.3g}")
        except ExportError as refusal:
            yield from ((each, refusal) for each in number_formats)
            return
        eaten = np.asarray(rows, dtype=np.float32 if rows.dtype.kind == "f" else np.int64)
        for each in number_formats:
            try:
                yield each, self.passes[each](content, eaten)
            except ExportError as refusal:
                yield each, refusal
