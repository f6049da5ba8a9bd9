"""Structured pruning of recurrent layers: hidden units of a GRU or LSTM leave, in every layer and direction.

A unit goes with its rows in all gates, its column in the recurrence, and its inputs in whatever reads it: the next
layer of the same module, and the layers behind it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.pruning.choice import check_options, choose
from fedcomp.shrink.pruning.cut import cut, example_of
from fedcomp.shrink.pruning.groups import Group, Piece
from fedcomp.shrink.pruning.probe import Poison, Readers, poison_last, readers
from fedcomp.shrink.pruning.scores import norms

Recurrent = nn.GRU | nn.LSTM


@dataclass(frozen=True)
class RecurrentUnits(Step):
    """Removes the share ``ratio`` of the hidden units, those whose weights have the smallest L2 norm.

    Every layer and direction keeps equally many, to the nearest multiple of ``round_to``, since a recurrent module has
    one hidden size; which ones stay differs. A unit whose weights are all zero puts out zero, and leaves without a
    trace. Reads no rows: their shape alone.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "recurrent"
    reads = False
    ratio: float = 0.5
    round_to: int = 8

    def __post_init__(self) -> None:
        check_options(self.ratio, self.round_to)

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with fewer hidden units; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without units to lose, time first, a projection, or one whose units are mixed
                before a layer reads them.
        """
        example = example_of(material.inputs.shape[1:], material.inputs.dtype)
        groups = [
            group
            for name, layer in module.named_modules()
            if isinstance(layer, nn.GRU | nn.LSTM)
            for group in _groups(module, name, layer, example)
        ]
        if not groups:
            raise ShrinkError(f"recurrent: expected a GRU or LSTM, got a {type(module).__name__} without")
        scores = norms(module, groups)
        return cut(module, groups, choose(groups, scores, self.ratio, "layer", self.round_to), example)


def _groups(module: nn.Module, name: str, layer: Recurrent, example: Tensor) -> list[Group]:
    """Return one group for each layer and direction, in the order of the hidden state."""
    if not layer.batch_first or layer.proj_size:
        raise ShrinkError(
            f"{name}: expected batch_first=True and proj_size=0, got {layer.batch_first} and {layer.proj_size}"
        )
    size, directions = layer.hidden_size, 2 if layer.bidirectional else 1
    places = layer.num_layers * directions
    behind = readers(module, name, places * size, _poison(layer), example)
    return [
        Group(
            f"{name} {place}",
            size,
            (*_own(name, layer, place), *_next(name, layer, place), *_behind(module, behind, place, size)),
        )
        for place in range(places)
    ]


def _own(name: str, layer: Recurrent, place: int) -> Iterator[Piece]:
    """Yield each unit's rows in all gates, and its column in the recurrence."""
    size, units = layer.hidden_size, np.arange(layer.hidden_size)
    gates = 3 if isinstance(layer, nn.GRU) else 4
    rows, owners = np.arange(gates * size), np.tile(units, gates)
    end = _ending(layer, place)
    for tensor in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if layer.bias else 2]:
        yield Piece(_named(name, tensor + end), 0, rows, owners)
    yield Piece(_named(name, "weight_hh" + end), 1, units, units)


def _next(name: str, layer: Recurrent, place: int) -> Iterator[Piece]:
    """Yield what both directions of the next layer read of each unit."""
    directions, units = 2 if layer.bidirectional else 1, np.arange(layer.hidden_size)
    above = place // directions + 1
    if above < layer.num_layers:
        columns = place % directions * layer.hidden_size + units
        for other in range(directions):
            yield Piece(_named(name, "weight_ih" + _ending(layer, above * directions + other)), 1, columns, units)


def _behind(module: nn.Module, behind: Readers, place: int, size: int) -> Iterator[Piece]:
    for reader, numbers in behind.items():
        columns = np.flatnonzero(numbers // size == place)
        layer = module.get_submodule(reader)
        tensors = ["weight"]
        if isinstance(layer, nn.GRU | nn.LSTM):
            tensors = ["weight_ih" + _ending(layer, each) for each in range(2 if layer.bidirectional else 1)]
        for tensor in tensors:
            yield Piece(_named(reader, tensor), 1, columns, numbers[columns] % size)


def _poison(layer: Recurrent) -> Poison:
    """Return what puts NaN into outputs and states: unit ``u`` of place ``p`` has number ``p * size + u``."""
    size, directions = layer.hidden_size, 2 if layer.bidirectional else 1

    def poison(outputs: Any, codes: Tensor) -> Any:
        sequence, state = outputs
        each = codes.reshape(len(codes), -1, size).movedim(0, 1)  # [places, rows, size], as states are
        spoiled = poison_last(sequence, codes[:, -directions * size :])
        if isinstance(state, tuple):
            return spoiled, tuple(part.masked_fill(each, torch.nan) for part in state)
        return spoiled, state.masked_fill(each, torch.nan)

    return poison


def _ending(layer: Recurrent, place: int) -> str:
    directions = 2 if layer.bidirectional else 1
    return f"_l{place // directions}" + ("_reverse" if place % directions else "")


def _named(layer: str, tensor: str) -> str:
    return f"{layer}.{tensor}" if layer else tensor
