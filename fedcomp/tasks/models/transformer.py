"""A Transformer that translates: encoder, decoder, and what decoding one token after another needs.

A. Vaswani et al., *Attention Is All You Need* (2017), with normalisation before each layer (R. Xiong et al., *On Layer
Normalization in the Transformer Architecture*, 2020). Numbers of heads and of hidden units are read from the layers, so
that both can be taken out of a trained model. A deep encoder and a decoder of one layer is what decodes fast: J. Kasai
et al., *Deep Encoder, Shallow Decoder* (2021).
"""

import math
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcomp.tasks.models.attention import HIDDEN, Attention, Full


@dataclass(frozen=True)
class TransformerShape:
    """Sizes. ``width`` is that of a state, ``hidden`` of the layers between; lengths are numbers of tokens.

    Raises:
        ValueError: if ``heads`` does not divide ``width``, ``width`` is odd, or a number is below 1.
    """

    vocabulary: int
    source_length: int
    target_length: int
    pad: int
    """The token that stands for nothing."""
    width: int = 256
    heads: int = 8
    hidden: int = 1024
    encoder_layers: int = 3
    decoder_layers: int = 3
    attention: Attention = field(default_factory=Full)
    """Of places to places of the same text; the target looks at all of the source."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and name != "pad" and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and a multiple of the {self.heads} heads, got {self.width}")


class Transformer(nn.Module):
    """Logits ``[n, target_length, vocabulary]`` of rows ``[n, source_length + target_length]`` of tokens.

    A row is the source, then the target behind a first token; the logits at a place are of the token that comes next.
    ``memory`` and ``step`` compute the same, one place at a time.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.source_length, self.target_length, self.pad = shape.source_length, shape.target_length, shape.pad
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)  # one for both languages, and used once a pass
        nn.init.normal_(self.embedding.weight, std=shape.width**-0.5)
        self.places = _Places(max(shape.source_length, shape.target_length), shape.width)
        self.encoder = nn.ModuleList(_EncoderLayer(shape) for _ in range(shape.encoder_layers))
        self.encoder_norm = nn.LayerNorm(shape.width)
        self.decoder = nn.ModuleList(_DecoderLayer(shape) for _ in range(shape.decoder_layers))
        self.decoder_norm = nn.LayerNorm(shape.width)
        self.output = nn.Linear(shape.width, shape.vocabulary)
        nn.init.normal_(self.output.weight, std=shape.width**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """Return logits ``[n, target_length, vocabulary]``."""
        states = self._embed(rows)
        bias = self._bias(rows[:, : self.source_length])
        source = self._encode(states[:, : self.source_length], bias)
        target = self.places(states[:, self.source_length :])
        for layer in self.decoder:
            target = layer(target, source, bias)
        logits: Tensor = self.output(self.decoder_norm(target))
        return logits

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        """Return what decoding reads of ``source [n, s]``: a bias, then keys and values of each decoder layer."""
        bias = self._bias(source)
        states = self._encode(self._embed(source), bias)
        parts = [part for layer in self._decoder_layers for part in layer.looking.keys_and_values(states)]
        return (bias, *parts)

    def empty(self, rows: int) -> tuple[Tensor, ...]:
        """Return the cache of ``rows`` rows before their first step: keys and values of no place, layer by layer."""
        weight = self.output.weight
        own = [layer.own for layer in self._decoder_layers]
        return tuple(weight.new_zeros((rows, each.heads, 0, each.head_width)) for each in own for _ in "kv")

    def step(
        self, tokens: Tensor, memory: tuple[Tensor, ...], cache: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return logits ``[n, vocabulary]`` after ``tokens [n, 1]``, and the cache with one place more."""
        state = self._embed(tokens) + self.places.table[cache[0].shape[2]]
        bias, grown = memory[0], []
        for number, layer in enumerate(self._decoder_layers):
            here = slice(2 * number, 2 * number + 2)
            state, *kept = layer.step(state, cache[here], memory[1:][here], bias)
            grown += kept
        logits: Tensor = self.output(self.decoder_norm(state[:, 0]))
        return logits, tuple(grown)

    @property
    def _decoder_layers(self) -> list["_DecoderLayer"]:
        return [cast(_DecoderLayer, layer) for layer in self.decoder]

    def _embed(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim)
        return states

    def _bias(self, source: Tensor) -> Tensor:
        return (source == self.pad)[:, None, None].to(self.output.weight.dtype) * HIDDEN

    def _encode(self, states: Tensor, bias: Tensor) -> Tensor:
        states = self.places(states)
        for layer in self.encoder:
            states = layer(states, bias)
        normalised: Tensor = self.encoder_norm(states)
        return normalised


class _Places(nn.Module):
    """Adds sines and cosines of the place; in a layer of its own, because it has no weights but a table."""

    table: Tensor

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, width, 2) * (-math.log(1e4) / width))
        table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
        self.register_buffer("table", table, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        return states + self.table[: states.shape[1]]


class _Heads(nn.Module):
    """Attention of several heads; their number is what the projections have room for."""

    def __init__(self, width: int, heads: int, attention: Attention) -> None:
        super().__init__()
        self.head_width, self.attention = width // heads, attention
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)

    @property
    def heads(self) -> int:
        return self.query.out_features // self.head_width

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as ``[n, heads, t, head_width]``."""
        return self._split(self.key(states)), self._split(self.value(states))

    def forward(self, states: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, causal: bool) -> Tensor:
        return self._mix(self.attention(self._split(self.query(states)), keys, values, bias, causal))

    def last(self, state: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return what ``forward`` does for the last place, ``state [n, 1, width]``, of a text read causally."""
        return self._mix(self.attention.last(self._split(self.query(state)), keys, values))

    def _mix(self, found: Tensor) -> Tensor:
        if found.shape[2] == 1:  # axes that change places for nothing cost a step of decoding a tenth of its time
            found = found.reshape(-1, 1, found.shape[1] * self.head_width)
        else:
            found = found.transpose(1, 2).flatten(2)
        mixed: Tensor = self.output(found)
        return mixed

    def _split(self, states: Tensor) -> Tensor:
        if states.shape[1] == 1:
            return states.reshape(-1, states.shape[2] // self.head_width, 1, self.head_width)
        split: Tensor = states.unflatten(2, (-1, self.head_width))  # type: ignore[no-untyped-call]
        return split.transpose(1, 2)


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, states: Tensor) -> Tensor:
        result: Tensor = self.narrow(functional.relu(self.wide(states)))
        return result


class _EncoderLayer(nn.Module):
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(shape.width), _Heads(shape.width, shape.heads, shape.attention)
        self.feed_norm, self.feed = nn.LayerNorm(shape.width), _FeedForward(shape.width, shape.hidden)

    def forward(self, states: Tensor, bias: Tensor) -> Tensor:
        normalised = self.own_norm(states)
        states = states + self.own(normalised, *self.own.keys_and_values(normalised), bias, False)
        fed: Tensor = states + self.feed(self.feed_norm(states))
        return fed


class _DecoderLayer(nn.Module):
    """Attention to the target so far (``own``), to the source (``looking``), and hidden units."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.own_norm, self.own = nn.LayerNorm(shape.width), _Heads(shape.width, shape.heads, shape.attention)
        self.looking_norm, self.looking = nn.LayerNorm(shape.width), _Heads(shape.width, shape.heads, Full())
        self.feed_norm, self.feed = nn.LayerNorm(shape.width), _FeedForward(shape.width, shape.hidden)

    def forward(self, states: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        normalised = self.own_norm(states)
        # padding comes after all of a target's tokens, so that what hides later places hides it too
        states = states + self.own(normalised, *self.own.keys_and_values(normalised), None, True)
        return self._look_and_feed(states, *self.looking.keys_and_values(source), bias)

    def step(
        self, state: Tensor, cache: tuple[Tensor, ...], memory: tuple[Tensor, ...], bias: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the state ``[n, 1, width]`` after this layer, and the keys and values of one place more."""
        normalised = self.own_norm(state)
        new = self.own.keys_and_values(normalised)
        keys, values = (torch.cat(pair, dim=2) for pair in zip(cache, new, strict=True))
        state = state + self.own.last(normalised, keys, values)
        return self._look_and_feed(state, memory[0], memory[1], bias), keys, values

    def _look_and_feed(self, states: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        states = states + self.looking(self.looking_norm(states), keys, values, bias, False)
        fed: Tensor = states + self.feed(self.feed_norm(states))
        return fed
