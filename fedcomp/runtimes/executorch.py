"""ExecuTorch with XNNPACK kernels, for phones and small boards: ``.pte`` files.

Quantization is torchao's (PyTorch 2 export): int8 weights a scale a channel, signed int8 activations.
"""

import importlib.util
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.runtimes.base import ExportError, Program, Runtime, relative_error
from fedcomp.runtimes.quiet import quiet

_INSTALL = "pip install 'fedcomp[mobile]'"
_PACKAGES = ("executorch", "torchao", "ruamel", "tabulate")
_LOGGERS = ("torchao", "torch.export", "torch.fx", "torch.utils._pytree", "executorch")
_TOLERANCE = 1e-3
_MAX_BATCH = 1024  # memory is planned for it; programs run larger batches in pieces


class ExecuTorch(Runtime):
    """ExecuTorch on the CPU.

    Its thread pool belongs to the process: the program opened last says for all how many threads there are.
    """

    name: ClassVar[str] = "executorch"
    suffix: ClassVar[str] = ".pte"
    formats: ClassVar[tuple[str, ...]] = ("fp32", "int8-static")
    calibrated: ClassVar[frozenset[str]] = frozenset({"int8-static"})

    def missing(self) -> str | None:
        """Return the command that installs ExecuTorch and its quantizer, or None."""
        return None if all(_found(name) for name in _PACKAGES) else _INSTALL

    def build(self, module: nn.Module, rows: NDArray[Any], number_format: str = "fp32") -> bytes:
        """Return the ``.pte`` file; see ``Runtime.build``."""
        if number_format not in self.formats:
            raise ValueError(f"number_format must be one of {', '.join(self.formats)}, got {number_format!r}")
        if len(rows) < 2:
            raise ValueError(f"rows must have at least 2 rows, got {len(rows)}")
        self._require()
        if recurrent := [name for name, part in module.named_modules() if isinstance(part, nn.RNNBase)]:
            # it would be unrolled step by step: many minutes, a large file, and no faster than fp32
            raise ExportError(f"ExecuTorch has no kernels for recurrent layers, got {', '.join(recurrent)}")
        tensor = torch.from_numpy(np.array(rows, dtype=np.float32 if rows.dtype.kind == "f" else np.int64))
        was_training = module.training
        module.eval()
        try:
            with quiet(_LOGGERS), torch.random.fork_rng(devices=[]):  # lowering draws numbers
                content = _lowered(_quantized(module, tensor) if number_format == "int8-static" else module, tensor)
        except Exception as error:
            raise ExportError(f"ExecuTorch cannot export the model: {_first_line(error)}") from error
        finally:
            module.train(was_training)
        if number_format == "fp32":
            differ = relative_error(module, self.open(content), rows)
            if not differ <= _TOLERANCE:
                raise ExportError(f"ExecuTorch's outputs must be within {_TOLERANCE} of PyTorch's, got {differ:.3g}")
        return content

    def open(self, content: bytes, threads: int = 1) -> Program:
        """Return the program in a ``.pte`` file; see ``Runtime.open``."""
        self._require()
        with quiet(_LOGGERS):
            from executorch.extension.pybindings import portable_lib
            from executorch.runtime import Runtime as Engine

            if portable_lib._threadpool_get_thread_count() != threads:
                portable_lib._unsafe_reset_threadpool(threads)
            try:
                loaded = Engine.get().load_program(content)
                method = loaded.load_method("forward")
                limit = int(method.metadata.input_tensor_meta(0).sizes()[0])
            except Exception as error:
                raise ExportError(f"ExecuTorch cannot open the file: {_first_line(error)}") from error
        # the engine reads the caller's bytes in place and does not keep them alive: whoever holds the program must
        alive = (content, loaded)

        def program(rows: NDArray[Any], _alive: object = alive) -> NDArray[Any]:
            pieces = (np.ascontiguousarray(rows[at : at + limit]) for at in range(0, len(rows), limit))
            try:
                return np.concatenate([method.execute([torch.from_numpy(piece)])[0].numpy() for piece in pieces])
            except RuntimeError as error:
                raise ExportError(f"ExecuTorch cannot run rows {list(rows.shape)}: {_first_line(error)}") from error

        return program

    def _require(self) -> None:
        if (command := self.missing()) is not None:
            raise ExportError(f"ExecuTorch is not installed: {command}")


def _exported(module: nn.Module, rows: torch.Tensor) -> Any:
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    return torch.export.export(module, (rows[:2],), dynamic_shapes=({0: batch},), strict=False)


def _lowered(module: nn.Module, rows: torch.Tensor) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(_exported(module, rows), partitioner=[XnnpackPartitioner()])
    return bytes(program.to_executorch().buffer)


def _quantized(module: nn.Module, rows: torch.Tensor) -> nn.Module:
    from executorch.backends.xnnpack.quantizer import xnnpack_quantizer as xnnpack
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = xnnpack.get_symmetric_quantization_config(is_per_channel=True, is_dynamic=False)
    prepared = prepare_pt2e(_exported(module, rows).module(), xnnpack.XNNPACKQuantizer().set_global(config))
    with torch.no_grad():
        prepared(rows)
    converted: nn.Module = convert_pt2e(prepared)
    return converted


def _found(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ValueError:
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
