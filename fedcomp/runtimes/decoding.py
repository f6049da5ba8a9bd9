"""Greedy decoding of a sequence-to-sequence model: the loop, and two ways to run it in PyTorch.

Always taking the likeliest next token costs one pass of the decoder for each token. ``RecomputingDecoder`` runs the
whole model again for each, and is what faster ways must agree with; ``CachedDecoder`` keeps the keys and values of
places that are done, which is the honest baseline.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Tokens = NDArray[np.int64]
Tensors = tuple[Tensor, ...]


@runtime_checkable
class Decodable(Protocol):
    """A model whose decoder can go place by place; see ``fedcomp.tasks.models.transformer.Transformer``."""

    def memory(self, source: Tensor) -> Tensors:
        """Return what each step reads of ``source [n, s]``; the first axis of every tensor is ``n``."""

    def empty(self, rows: int) -> Tensors:
        """Return the cache before the first step: ``[rows, ..., 0, width]``, where axis 2 is that of places."""

    def step(self, tokens: Tensor, memory: Tensors, cache: Tensors) -> tuple[Tensor, Tensors]:
        """Return logits ``[n, vocabulary]`` after ``tokens [n, 1]``, and the cache with one place more."""


class Decoder(ABC):
    """One way to run a model's decoder. It holds no state of a text: ``start`` makes it and ``step`` passes it on."""

    @abstractmethod
    def start(self, source: Tokens) -> Any:
        """Return the state before the first token, of ``source [n, s]``."""

    @abstractmethod
    def step(self, tokens: Tokens, state: Any) -> tuple[NDArray[np.float32], Any]:
        """Return logits ``[n, vocabulary]`` of what follows ``tokens [n]``, and the state after them."""


def greedy(decoder: Decoder, source: Tokens, *, begin: int, end: int, longest: int, stop_early: bool = True) -> Tokens:
    """Return the likeliest tokens ``[n, longest]``, one after another, of ``source [n, s]``.

    After the first ``end`` of a row there is nothing but ``end``. The loop ends once every row has one; with
    ``stop_early`` false it goes on, so that every call does the same work, for timing.
    """
    found = np.full((len(source), longest), end, dtype=np.int64)
    state, tokens = decoder.start(source), np.full(len(source), begin, dtype=np.int64)
    ended = np.zeros(len(source), dtype=bool)
    for place in range(longest):
        logits, state = decoder.step(tokens, state)
        tokens = logits.argmax(axis=1)
        found[~ended, place] = tokens[~ended]
        ended |= tokens == end
        if stop_early and ended.all():
            break
    return found


class CachedDecoder(Decoder):
    """PyTorch, with the keys and values of what was decoded kept. The module is used in eval mode, where it is."""

    def __init__(self, module: Decodable) -> None:
        self._module = module.eval() if isinstance(module, nn.Module) else module

    def start(self, source: Tokens) -> tuple[Tensors, Tensors]:
        """Return the memory of the source, and an empty cache."""
        with torch.inference_mode():
            return self._module.memory(torch.from_numpy(source)), self._module.empty(len(source))

    def step(
        self, tokens: Tokens, state: tuple[Tensors, Tensors]
    ) -> tuple[NDArray[np.float32], tuple[Tensors, Tensors]]:
        """Return logits, and the memory with the longer cache."""
        memory, cache = state
        with torch.inference_mode():
            logits, cache = self._module.step(torch.from_numpy(tokens[:, None]), memory, cache)
        return logits.numpy(), (memory, cache)


class RecomputingDecoder(Decoder):
    """PyTorch, by a module of whole rows ``[n, s + longest]``, run again for every token.

    ``longest`` is how many places the module has for the target, and ``pad`` fills those that are not reached yet.
    """

    def __init__(self, module: nn.Module, longest: int, pad: int) -> None:
        self._module, self._longest, self._pad = module.eval(), longest, pad

    def start(self, source: Tokens) -> tuple[Tokens, int]:
        """Return the rows without a target, and that nothing is decoded."""
        places = np.full((len(source), self._longest), self._pad, dtype=np.int64)
        return np.concatenate([source, places], axis=1), 0

    def step(self, tokens: Tokens, state: tuple[Tokens, int]) -> tuple[NDArray[np.float32], tuple[Tokens, int]]:
        """Return logits, and the rows with the tokens in them."""
        rows, done = state
        rows = rows.copy()
        rows[:, rows.shape[1] - self._longest + done] = tokens
        with torch.inference_mode():
            logits = self._module(torch.from_numpy(rows))[:, done]
        return logits.numpy(), (rows, done + 1)
