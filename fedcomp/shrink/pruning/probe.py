"""Which inputs of later layers come from which outputs of a layer, found by running the model and not by reading it.

In one batch, each row has NaN in place of another half of the layer's outputs: row ``b`` where bit ``b`` of an output's
number is 1, and a second row where it is 0. NaN outlives sums, products and activations, so that in which rows an input
of a later layer is NaN spells the number of the output that it comes from.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.shrink.base import ShrinkError

Readers = dict[str, NDArray[np.int64]]
"""Layers by name, and for each of their inputs the number of the output that it comes from, or -1."""
Poison = Callable[[Any, Tensor], Any]
"""What puts NaN into a layer's outputs for a batch, where ``[rows, units]`` says so."""

_READERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.GRU, nn.LSTM)


def readers(module: nn.Module, name: str, units: int, poison: Poison, example: Tensor) -> Readers:
    """Return the layers that read the outputs of layer ``name``, before any other layer with weights has changed them.

    ``module`` is run in eval mode on copies of ``example [1, ...]``; rows come first in all that layers read. Inputs of
    a linear or recurrent layer lie along the last axis, those of a convolution along the second.

    Raises:
        ShrinkError: if outputs are mixed before a layer reads them, or reach what ``module`` puts out.
    """
    codes = _codes(units)
    found: Readers = {}
    with torch.no_grad(), _hooked(module, name, codes, poison, found):
        outputs = module(example.expand(len(codes), *example.shape[1:]).contiguous())
    if bool(outputs.isnan().any()):
        raise ShrinkError(
            f"{name}: expected layers that read each output alone, but the model puts them out or mixes them"
        )
    return found


def poison_last(outputs: Tensor, codes: Tensor) -> Tensor:
    """Put NaN along the last axis of ``outputs [rows, ..., units]``."""
    where = codes.reshape(len(codes), *[1] * (outputs.ndim - 2), -1)
    return outputs.masked_fill(where, torch.nan)


def _codes(units: int) -> Tensor:
    """Return ``[2 * bits, units]``: where each row has NaN, a bit and its complement taking turns."""
    bits = torch.arange(max(1, (units - 1).bit_length()))
    ones = (torch.arange(units) >> bits[:, None]) & 1 == 1
    return torch.stack([ones, ~ones], dim=1).flatten(0, 1)


@contextmanager
def _hooked(module: nn.Module, name: str, codes: Tensor, poison: Poison, found: Readers) -> Iterator[None]:
    layers = dict(module.named_modules())
    was_training = module.training
    handles = [layers[name].register_forward_hook(lambda _, __, outputs: poison(outputs, codes))]

    def listen(reader: str) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        return lambda layer, inputs: _heard(layer, inputs, reader, name, len(codes), found)

    handles += [
        layer.register_forward_pre_hook(listen(reader))
        for reader, layer in layers.items()
        if isinstance(layer, _READERS) and reader != name
    ]
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)
        for handle in handles:
            handle.remove()


def _heard(
    layer: nn.Module, inputs: tuple[Any, ...], reader: str, name: str, rows: int, found: Readers
) -> tuple[Any, ...]:
    """Note what a layer reads, and give it numbers in place of NaN, so that nothing behind it hears."""
    poisoned = inputs[0].isnan()
    if not bool(poisoned.any()):
        return inputs
    axis = -1 if isinstance(layer, nn.Linear | nn.RNNBase) else 1
    if len(poisoned) % rows:
        raise ShrinkError(f"{reader}: expected rows first in what it reads of {name}, got {list(poisoned.shape)}")
    features = poisoned.movedim(axis, -1)
    heard = features.reshape(rows, -1, features.shape[-1]).any(1).reshape(-1, 2, features.shape[-1])
    places = _decoded(heard, reader, name)
    if not np.array_equal(found.setdefault(reader, places), places):
        raise ShrinkError(f"{reader}: expected to read the same of {name} each time, got two different orders")
    return (inputs[0].nan_to_num(0.0), *inputs[1:])


def _decoded(heard: Tensor, reader: str, name: str) -> NDArray[np.int64]:
    """Return the number that each feature spells in ``heard [bits, 2, features]``, -1 for one that hears nothing."""
    count = heard.sum(1)
    reads = heard.flatten(0, 1).any(0)
    if not bool(((count == 1) | ~reads).all()):
        raise ShrinkError(f"{reader}: expected to read each output of {name} alone, got a mixture of them")
    numbers = (heard[:, 0].long() << torch.arange(len(heard))[:, None]).sum(0)
    return np.asarray(torch.where(reads, numbers, -1).numpy(), np.int64)
