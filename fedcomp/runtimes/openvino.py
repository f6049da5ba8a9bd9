"""OpenVINO on x86 processors. It reads ONNX files, so its files are ours: fp32, our own int8, and bfloat16.

NNCF, OpenVINO's own quantizer, is not used: it sends usage statistics. Nor is the package ``openvino-telemetry``, which
``openvino`` asks for and only its command-line converters use; installing with ``--no-deps`` keeps it off the machine.
"""

import importlib.util
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.runtimes.base import ExportError, Program
from fedcomp.runtimes.onnx_based import OnnxBased, Pass
from fedcomp.runtimes.onnx_static import static_int8
from fedcomp.runtimes.onnx_weights import half_weights
from fedcomp.runtimes.telemetry import missing_onnx_runtime

_INSTALL = "pip install 'fedcomp[edge]' && pip install --no-deps openvino==2026.4.1"
_PASSES: Mapping[str, Pass] = {
    "fp32": lambda content, _: content,
    "bfloat16": lambda content, _: half_weights(content, "bfloat16"),
    "int8-static": static_int8,
}


class OpenVino(OnnxBased):
    """OpenVINO's CPU plugin.

    ``bfloat16``: weights are stored so, and computed with: on a processor that multiplies bfloat16 that is the fastest
    without calibration. ``int8-static``: the file that ONNX Runtime gets.
    """

    name: ClassVar[str] = "openvino"
    formats: ClassVar[tuple[str, ...]] = tuple(_PASSES)
    calibrated: ClassVar[frozenset[str]] = frozenset({"int8-static"})
    passes: ClassVar[Mapping[str, Pass]] = MappingProxyType(_PASSES)

    def missing(self) -> str | None:
        """Return the command that installs OpenVINO and what writes ONNX files, or None."""
        return None if _installed() and missing_onnx_runtime() is None else _INSTALL

    def open(self, content: bytes, threads: int = 1) -> Program:
        """Return the program in an ONNX file; see ``Runtime.open``."""
        if not _installed():
            raise ExportError(f"running a model in OpenVINO needs it installed: {_INSTALL}")
        import openvino

        try:
            model = openvino.Core().read_model(io.BytesIO(content))
            request = openvino.compile_model(model, "CPU", _settings(model, threads)).create_infer_request()
        except Exception as error:
            raise ExportError(f"OpenVINO cannot open the file: {' '.join(str(error).split())[:200]}") from error
        dtype: Any = np.int64 if model.inputs[0].get_element_type().is_integral() else np.float32

        def program(rows: NDArray[Any]) -> NDArray[Any]:
            found = request.infer([np.ascontiguousarray(rows, dtype=dtype)], share_inputs=True, share_outputs=True)
            return np.array(found[0])  # the next call writes where this one's answers are

        return program


def _installed() -> bool:
    return importlib.util.find_spec("openvino") is not None


def _settings(model: Any, threads: int) -> dict[str, Any]:
    """Return settings under which a file is computed as it says: bfloat16 where weights are stored so, else float32."""
    stored = (one for one in model.get_ordered_ops() if one.get_type_name() == "Constant")
    half = any(one.get_element_type().get_type_name() == "bf16" for one in stored)
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        # the default takes bfloat16 wherever the processor has it, whatever the file says
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
    }
