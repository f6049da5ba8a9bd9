"""A model as an ONNX file, checked against PyTorch in the runtime that devices use."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.files import write_atomic
from fedcomp.runtimes.base import ExportError

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
        module: takes one float32 tensor ``[batch, ...]`` and returns one.
        examples: at least two rows ``[n, ...]`` to compare on.
        path: the file.
        tolerance: largest relative error that is accepted.

    Raises:
        ExportError: if the extra packages are missing (with the command that installs them), if the graph cannot be
            exported, or if its outputs differ.
        RunError: if the file cannot be written.
    """
    if len(examples) < 2:
        raise ValueError(f"examples must have at least 2 rows, got {len(examples)}")
    rows = np.array(examples, dtype=np.float32)
    was_training = module.training
    module.eval()
    try:
        content = _onnx_bytes(module, torch.from_numpy(rows))
        error = max(_relative_error(module, content, rows), _relative_error(module, content, rows[:1]))
    finally:
        module.train(was_training)
    if not error <= tolerance:
        raise ExportError(f"the ONNX model's outputs must be within {tolerance} of PyTorch's, got {error:.3g}")
    write_atomic(path, content)
    return OnnxExport(len(content), error)


def _onnx_bytes(module: nn.Module, rows: torch.Tensor) -> bytes:
    try:
        import onnx  # noqa: F401 - the extra, and so is the next
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ExportError(f"writing ONNX needs packages that are not installed ({error.name}): {_INSTALL}") from error
    with _quiet():
        try:
            program = torch.onnx.export(
                module,
                (rows,),
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
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


def _relative_error(module: nn.Module, content: bytes, rows: NDArray[np.float32]) -> float:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import; versions that report by default read it
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"checking an ONNX model needs ONNX Runtime: {_INSTALL}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"input": rows})
    except Exception as error:
        raise ExportError(f"ONNX Runtime cannot run the exported model: {error}") from error
    with torch.no_grad():
        expected = module(torch.from_numpy(rows)).numpy()
    if found.shape != expected.shape:
        raise ExportError(f"the ONNX model must return {list(expected.shape)}, got {list(found.shape)}")
    return float(np.linalg.norm(found - expected)) / max(float(np.linalg.norm(expected)), 1e-12)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter: it warns of its own future and logs its progress, and neither concerns the caller."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
