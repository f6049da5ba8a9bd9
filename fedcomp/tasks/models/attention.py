"""Ways for places of a sequence to look at each other: at all, at near ones, or at the few that fit best.

All take queries ``[n, heads, t, width]``, keys and values ``[n, heads, s, width]``, and a bias ``[n, 1, 1, s]`` that is
added to the scores of keys (0, or ``HIDDEN`` where there is nothing to see; None if all may be seen), and return
``[n, heads, t, width]``. What they cost, and from which length on the sparse ones pay: ``benchmarks/attention.py``.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

HIDDEN = -1e4
"""Small enough that its exponential is 0, and finite: a row that sees nothing at all must not become NaN."""


class Attention(ABC):
    """One way; a value without weights, so that a model can be trained with one and run with another."""

    @abstractmethod
    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        """Return for each query the mean of values that its keys' scores give; ``causal`` hides later places."""

    def last(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return what the last of the keys' places gets, ``query [n, heads, 1, width]``: decoding step by step."""
        return self(query, key, value, None, False)


@dataclass(frozen=True)
class Full(Attention):
    """Every place sees every other: A. Vaswani et al., *Attention Is All You Need* (2017)."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        """Return scaled dot-product attention; time and memory grow with ``t * s``."""
        if query.shape[2] == 1 or torch.compiler.is_exporting():
            # an export of the fused operator copies all keys to turn them around, in every step of a decoder
            return _scores(query, key, bias, causal).softmax(dim=3) @ value
        if bias is None:
            return functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        if causal:
            bias = bias + _later(query.shape[2], key.shape[2], query.device)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)


@dataclass(frozen=True)
class Windowed(Attention):
    """A place sees those at most ``width`` away: I. Beltagy, M. Peters and A. Cohan, *Longformer* (2020).

    Places are cut into blocks of ``width``, and each block looks at itself and its neighbours, so that time and memory
    grow with ``t * width``. For self-attention alone: queries and keys are the same places.

    Raises:
        ValueError: for a width below 1.
    """

    width: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        """Return attention over places ``i - width`` to ``i + width``, or to ``i`` if causal."""
        n, heads, length, channels = query.shape
        if key.shape[2] != length:
            raise ValueError(f"a window needs as many keys as queries, {length}, got {key.shape[2]}")
        blocks = -(-length // self.width)
        beyond = blocks * self.width - length
        span = 2 if causal else 3
        if bias is None:
            bias = query.new_zeros((1, 1, 1, length))
        bias = functional.pad(bias, (self.width, beyond + (span - 2) * self.width), value=HIDDEN)
        near = bias.unfold(3, span * self.width, self.width)[:, 0, 0, :, None, None]  # [n or 1, blocks, 1, 1, seen]
        mask = near + self._distant(span, causal, query.device)
        found: Tensor = functional.scaled_dot_product_attention(
            self._blocks(query, beyond),
            self._near(key, beyond, span),
            self._near(value, beyond, span),
            attn_mask=mask.expand(n, -1, -1, -1, -1).flatten(0, 1),
        )
        found = found.reshape(n, blocks, heads, self.width, channels).transpose(1, 2)
        return found.reshape(n, heads, blocks * self.width, channels)[:, :, :length]

    def last(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return full attention to the last ``width + 1`` places."""
        near = slice(-(self.width + 1), None)
        return _scores(query, key[:, :, near], None, False).softmax(dim=3) @ value[:, :, near]

    def _blocks(self, query: Tensor, beyond: int) -> Tensor:
        """Return the queries block by block, ``[n * blocks, heads, width, channels]``."""
        padded = functional.pad(query, (0, 0, 0, beyond))
        return padded.unfold(2, self.width, self.width).permute(0, 2, 1, 4, 3).flatten(0, 1)

    def _near(self, keys: Tensor, beyond: int, span: int) -> Tensor:
        """Return for each block the keys that it may see: ``[n * blocks, heads, span * width, channels]``."""
        padded = functional.pad(keys, (0, 0, self.width, beyond + (span - 2) * self.width))
        return padded.unfold(2, span * self.width, self.width).permute(0, 2, 1, 4, 3).flatten(0, 1)

    def _distant(self, span: int, causal: bool, device: torch.device) -> Tensor:
        """Return ``[width, span * width]``: ``HIDDEN`` where a key of the blocks around is out of a query's sight."""
        places = torch.arange(span * self.width, device=device) - self.width
        distance = places - torch.arange(self.width, device=device)[:, None]
        hidden = (distance < -self.width) | (distance > (0 if causal else self.width))
        return hidden * HIDDEN


@dataclass(frozen=True)
class TopK(Attention):
    """A place sees the ``keys`` places that fit it best: G. Zhao et al., *Explicit Sparse Transformer* (2019).

    All scores are computed, so that it is never faster than ``Full``; what it changes is what is attended to. Keys
    whose scores tie with the last of them are seen too.

    Raises:
        ValueError: for fewer than one key.
    """

    keys: int

    def __post_init__(self) -> None:
        if self.keys < 1:
            raise ValueError(f"keys must be at least 1, got {self.keys}")

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        """Return attention over the best keys."""
        scores = _scores(query, key, bias, causal)
        # always enough to choose from: a branch on the length would be cast in stone by an export
        enough = functional.pad(scores, (0, self.keys), value=3 * HIDDEN)
        least = enough.topk(self.keys, dim=3).values[..., -1:]
        return scores.masked_fill(scores < least, 3 * HIDDEN).softmax(dim=3) @ value


def _scores(query: Tensor, key: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
    """Return ``[n, heads, t, s]``: how well keys fit queries, with ``HIDDEN`` or less where none is to be seen."""
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    if bias is not None:
        scores = scores + bias
    return scores + _later(query.shape[2], key.shape[2], query.device) if causal else scores


def _later(queries: int, keys: int, device: torch.device) -> Tensor:
    """Return ``[queries, keys]``: ``HIDDEN`` where the key's place comes after the query's."""
    return torch.full((queries, keys), HIDDEN, device=device).triu(1)
