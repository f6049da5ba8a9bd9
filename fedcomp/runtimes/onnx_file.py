"""A model as an ONNX file, checked against PyTorch in the runtime that devices use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.files import write_atomic
from fedcomp.runtimes.base import ExportError, relative_error
from fedcomp.runtimes.onnx_session import onnx_program
from fedcomp.runtimes.quiet import quiet

_INSTALL = "pip install 'fedcomp[edge]'"
_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


@dataclass(frozen=True)
class OnnxExport:
    """A written ONNX file."""

    bytes: int
    relative_error: float
    """L2 norm of the difference between the outputs of ONNX Runtime and PyTorch, over that of PyTorch's."""


def export_onnx(module: nn.Module, examples: NDArray[Any], path: Path, tolerance: float = 1e-3) -> OnnxExport:
    """Write ``module`` in eval mode to ``path``, with input ``input [batch, ...]`` and output ``output [batch, ...]``.

    The exported graph is run on all of ``examples`` and on one of them before anything is written, and must agree with
    PyTorch. The module is left as it came.

    Args:
        module: takes one float32 or int64 tensor ``[batch, ...]`` and returns one.
        examples: at least two rows ``[n, ...]`` to compare on.
        path: the file.
        tolerance: largest relative error that is accepted.

    Raises:
        ExportError: if the extra packages are missing (with the command that installs them), if the graph cannot be
            exported, or if its outputs differ.
        RunError: if the file cannot be written.
        ValueError: for fewer than two examples.
    """
    content, error = onnx_bytes(module, examples, tolerance)
    write_atomic(path, content)
    return OnnxExport(len(content), error)


def onnx_bytes(module: nn.Module, examples: NDArray[Any], tolerance: float = 1e-3) -> tuple[bytes, float]:
    """Return what ``export_onnx`` writes, and the relative error of its outputs; the arguments are the same.

    Raises:
        ExportError: as ``export_onnx``.
        ValueError: for fewer than two examples.
    """
    if len(examples) < 2:
        raise ValueError(f"examples must have at least 2 rows, got {len(examples)}")
    rows = np.array(examples, dtype=np.float32 if examples.dtype.kind == "f" else np.int64)
    was_training = module.training
    module.eval()
    try:
        varying = ({0: torch.export.Dim("batch")},)
        content = traced(module, (torch.from_numpy(rows[:2]),), ["input"], ["output"], varying)
    finally:
        module.train(was_training)
    error = relative_error(module, onnx_program(content), rows)
    if not error <= tolerance:
        raise ExportError(f"the ONNX model's outputs must be within {tolerance} of PyTorch's, got {error:.3g}")
    return content, error


def traced(
    module: nn.Module, inputs: tuple[Any, ...], names: Sequence[str], outputs: Sequence[str], shapes: Any
) -> bytes:
    """Return the ONNX file of ``module`` as PyTorch exports it for ``inputs``; nothing is compared.

    ``shapes`` say which axes may vary, as ``torch.export`` takes them.

    Raises:
        ExportError: if the extra packages are missing, with the command that installs them, or it cannot be exported.
    """
    try:
        import onnx  # noqa: F401 - the extra, and so is the next
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"writing ONNX needs packages that are not installed ({error.name}): {_INSTALL}") from error
    with quiet(_LOGGERS):
        try:
            program = torch.onnx.export(
                module,
                inputs,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            raise ExportError(f"PyTorch cannot export the model: {str(error).strip().splitlines()[0]}") from error
    if program is None:
        raise ExportError("PyTorch returned no ONNX program")
    content: bytes = _without_traces(program.model_proto).SerializeToString()
    return content


def _without_traces(model: Any) -> Any:
    """Drop what the exporter notes beside every node: stack traces, with the paths of the machine that exported."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model
