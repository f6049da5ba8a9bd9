"""ONNX Runtime on the CPU, the core runtime: a model in fp32, or in one of eight smaller number formats."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from fedcomp.runtimes.base import ExportError, Program
from fedcomp.runtimes.onnx_based import OnnxBased, Pass
from fedcomp.runtimes.onnx_dynamic import dynamic_int8
from fedcomp.runtimes.onnx_session import onnx_program
from fedcomp.runtimes.onnx_static import static_int8
from fedcomp.runtimes.onnx_weights import fixed_point_weights, half_weights, int4_weights
from fedcomp.runtimes.telemetry import missing_onnx_runtime

_CALIBRATED: Mapping[str, Pass] = {
    "int8-static": static_int8,
    "int8-percentile": lambda content, rows: static_int8(content, rows, percentile=99.999),
}
_PASSES: Mapping[str, Pass] = {
    "fp32": lambda content, _: content,
    "float16": lambda content, _: half_weights(content, "float16"),
    "bfloat16": lambda content, _: half_weights(content, "bfloat16"),
    "fixed16": lambda content, _: fixed_point_weights(content, 16),
    "fixed8": lambda content, _: fixed_point_weights(content, 8),
    "int8-dynamic": lambda content, _: dynamic_int8(content),
    "int4-weight": lambda content, _: int4_weights(content),
    **_CALIBRATED,
}


class OnnxRuntime(OnnxBased):
    """ONNX Runtime.

    ``fp32``; ``float16``, ``bfloat16``, ``fixed16`` and ``fixed8`` (whole numbers times a power of two): weights alone,
    turned back to float32 when the file is opened, so the file is smaller and nothing faster; ``int8-static`` (ranges
    from lowest to highest) and ``int8-percentile`` (99.999 % of the values): convolutions and products in int8;
    ``int8-dynamic``: products in int8 with ranges found at run time; ``int4-weight``: factors of products in 4 bits.
    """

    name: ClassVar[str] = "onnxruntime"
    formats: ClassVar[tuple[str, ...]] = tuple(_PASSES)
    calibrated: ClassVar[frozenset[str]] = frozenset(_CALIBRATED)
    passes: ClassVar[Mapping[str, Pass]] = MappingProxyType(_PASSES)

    def missing(self) -> str | None:
        """Return the command that installs ONNX and its runtime, or None."""
        return missing_onnx_runtime()

    def open(self, content: bytes, threads: int = 1) -> Program:
        """Return the program in an ONNX file; see ``Runtime.open``."""
        if (command := self.missing()) is not None:
            raise ExportError(f"running an ONNX model needs ONNX Runtime: {command}")
        return onnx_program(content, threads)
