"""Greedy decoding in ONNX Runtime: one graph for the source, one for a step, and a cache that goes through the step."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.decoding import CachedDecoder, Decodable, Decoder, Tensors, Tokens
from fedcomp.runtimes.onnx_dynamic import dynamic_int8
from fedcomp.runtimes.onnx_file import traced
from fedcomp.runtimes.onnx_session import onnx_session

_INSTALL = "pip install 'fedcomp[edge]'"
_TOLERANCE = 1e-3
_COMPARED_STEPS = 8


@dataclass(frozen=True)
class DecoderFiles:
    """Two ONNX files.

    ``start``: ``source [n, s]`` to ``memory_0, memory_1, ...``, for any ``n`` and any ``s`` that the model has places
    for. ``step``: ``tokens [n, 1]``, the memories and ``cache_0, ...`` to ``logits [n, vocabulary]`` and ``grown_0,
    ...``, which are the next step's cache.
    """

    start: bytes
    step: bytes


def export_decoder(module: Decodable, source: Tokens) -> DecoderFiles:
    """Return the files of ``module`` in eval mode; the module is left as it came.

    They are run on ``source [n, s]`` (at least two rows of two tokens) for a few steps, and must give PyTorch's logits.

    Raises:
        ExportError: if the extra packages are missing (with the command that installs them), the graphs cannot be
            exported, or their outputs differ.
        ValueError: for too few rows or tokens.
    """
    if min(source.shape) < 2:
        raise ValueError(f"source must have at least 2 rows of 2 tokens, got {list(source.shape)}")
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an nn.Module with memory, empty and step, got {type(module).__name__}")
    was_training = module.training
    module.eval()
    try:
        files = _export(module, source)
        error = _relative_error(module, files, source)
    finally:
        module.train(was_training)
    if not error <= _TOLERANCE:
        raise ExportError(f"the ONNX decoder's logits must be within {_TOLERANCE} of PyTorch's, got {error:.3g}")
    return files


def quantize_decoder(files: DecoderFiles) -> DecoderFiles:
    """Return files with weights in int8, signed, one scale a channel, and activations quantized as they come.

    No rows are read, so that nothing is released that the weights did not release.

    Raises:
        ExportError: if they have no linear layers.
    """
    return DecoderFiles(dynamic_int8(files.start), dynamic_int8(files.step))


class OnnxDecoder(Decoder):
    """The files, run by ONNX Runtime on the CPU.

    Raises:
        ExportError: if ONNX Runtime is not installed, or the bytes are not such files.
    """

    def __init__(self, files: DecoderFiles, threads: int = 1) -> None:
        self._start, self._step = (onnx_session(content, threads) for content in (files.start, files.step))
        names = [each.name for each in self._step.get_inputs()]
        self._memory = [name for name in names if name.startswith("memory_")]
        cache = [each for each in self._step.get_inputs() if each.name.startswith("cache_")]
        if names[:1] != ["tokens"] or not cache:
            raise ExportError(f"expected a decoder's step, with inputs tokens, memory_* and cache_*, got {names}")
        self._cache = {each.name: (each.shape[1], each.shape[3]) for each in cache}

    def start(self, source: Tokens) -> dict[str, NDArray[Any]]:
        """Return the step's inputs beside the tokens: the memories, and caches of no place."""
        memories = self._start.run(None, {"source": source})
        empty = {
            name: np.zeros((len(source), heads, 0, width), np.float32) for name, (heads, width) in self._cache.items()
        }
        return {**dict(zip(self._memory, memories, strict=True)), **empty}

    def step(
        self, tokens: Tokens, state: dict[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return logits, and the inputs with the longer caches."""
        logits, *grown = self._step.run(None, {"tokens": tokens[:, None], **state})
        return logits, {**state, **dict(zip(self._cache, grown, strict=True))}


class _Start(nn.Module):
    def __init__(self, module: Decodable) -> None:
        super().__init__()
        self.module = module

    def forward(self, source: torch.Tensor) -> Tensors:
        return self.module.memory(source)


class _Step(nn.Module):
    def __init__(self, module: Decodable) -> None:
        super().__init__()
        self.module = module

    def forward(self, tokens: torch.Tensor, memory: Tensors, cache: Tensors) -> Tensors:
        logits, grown = self.module.step(tokens, memory, cache)
        return (logits, *grown)


def _export(module: Decodable, source: Tokens) -> DecoderFiles:
    rows, length = torch.export.Dim("rows"), torch.export.Dim("length")
    with torch.no_grad():
        tokens = torch.from_numpy(source)
        memory, cache = module.memory(tokens), module.empty(len(source))
        for place in range(2):  # a cache of no place, or of one, would be taken for the only one there is
            _, cache = module.step(tokens[:, place : place + 1], memory, cache)
    memories = [f"memory_{number}" for number in range(len(memory))]
    caches = [f"cache_{number}" for number in range(len(cache))]
    start = traced(_Start(module), (tokens,), ["source"], memories, ({0: rows, 1: length},))
    shapes = (
        {0: rows},
        tuple({0: rows, next(a for a in (2, 3) if part.shape[a] == source.shape[1]): length} for part in memory),
        tuple({0: rows, 2: torch.export.Dim("places")} for _ in cache),
    )
    names = ["tokens", *memories, *caches], ["logits", *(name.replace("cache", "grown") for name in caches)]
    return DecoderFiles(start, traced(_Step(module), (tokens[:, :1], memory, cache), *names, shapes))


def _relative_error(module: Decodable, files: DecoderFiles, source: Tokens) -> float:
    """Return the largest relative error of the logits, over a few steps of all rows and of one row alone."""
    found = 0.0
    for rows in (source, source[:1]):
        exported, expected = OnnxDecoder(files), CachedDecoder(module)
        ours, theirs = exported.start(rows), expected.start(rows)
        for place in range(min(_COMPARED_STEPS, rows.shape[1])):
            tokens = np.ascontiguousarray(rows[:, place])
            left, ours = exported.step(tokens, ours)
            right, theirs = expected.step(tokens, theirs)
            found = max(found, float(np.linalg.norm(left - right) / max(float(np.linalg.norm(right)), 1e-12)))
    return found
