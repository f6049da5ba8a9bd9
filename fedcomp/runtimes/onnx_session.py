"""An ONNX file's bytes, opened in ONNX Runtime."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.runtimes.base import ExportError, Program
from fedcomp.runtimes.telemetry import onnxruntime_module

_DTYPES: dict[str, Any] = {"tensor(float)": np.float32, "tensor(int64)": np.int64}


def onnx_session(content: bytes, threads: int = 1) -> Any:
    """Return an ``InferenceSession`` on the CPU, for graphs with any inputs and outputs.

    Raises:
        ExportError: if ONNX Runtime is missing or refuses the bytes.
        ValueError: for fewer than one thread.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    runtime = onnxruntime_module()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ExportError(f"ONNX Runtime cannot open the file: {_first_line(error)}") from error


def onnx_program(content: bytes, threads: int = 1) -> Program:
    """Return the program in an ONNX file with one input and one output; rows are cast to the dtype that it eats.

    Raises:
        ExportError: if ONNX Runtime is missing or refuses the bytes, or the graph has another shape; from the program,
            if it cannot run the rows.
    """
    session = onnx_session(content, threads)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in _DTYPES:
        came = [one.type for one in inputs]
        raise ExportError(f"expected an ONNX file with one float or int64 input and one output, got inputs {came}")
    name, dtype = inputs[0].name, _DTYPES[inputs[0].type]

    def program(rows: NDArray[Any]) -> NDArray[Any]:
        try:
            (found,) = session.run(None, {name: np.asarray(rows, dtype=dtype)})
        except Exception as error:
            raise ExportError(f"ONNX Runtime cannot run the model: {_first_line(error)}") from error
        answers: NDArray[Any] = found
        return answers

    return program


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
