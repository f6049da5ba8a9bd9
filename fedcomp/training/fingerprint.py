"""What a module is, apart from the values that it learns: equal fingerprints compute alike under equal weights."""

import hashlib
import types
from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import nn

_STATE = {"training", "_parameters", "_buffers", "_modules"}


class _Unknown(Exception):
    """An attribute that may hide anything."""


def fingerprint(module: nn.Module) -> Hashable | None:
    """Return a key of the module's structure, or None where something in it cannot be known for certain.

    Two modules with the same key have layers of the same classes under the same names, with the same plain attributes
    (numbers, strings, functions without a closure), parameters of the same shapes, tied in the same way, and frozen
    parameters and buffers of the same values. Values of trainable parameters, and the mode, do not count. What a
    ``forward`` reads outside of its module is not seen. A module with hooks, or with an attribute of any other kind,
    has no key.
    """
    try:
        layers = tuple((name, type(layer), _attributes(layer)) for name, layer in _layers(module))
        return layers, _ties(module), tuple(_tensors(module))
    except _Unknown:
        return None


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    yield from module.named_modules(remove_duplicate=False)


def _attributes(layer: nn.Module) -> Hashable:
    if any(value for name, value in vars(layer).items() if name.endswith("_hooks")):
        raise _Unknown
    return tuple((name, _plain(value)) for name, value in sorted(vars(layer).items()) if name not in _STATE)


def _plain(value: Any) -> Hashable:
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes, torch.dtype, torch.device):
        return kind, value  # the kind too: True == 1 == 1.0
    if kind in (tuple, list, torch.Size):
        return kind, tuple(_plain(each) for each in value)
    if kind in (set, frozenset):
        return kind, frozenset(_plain(each) for each in value)
    if issubclass(kind, dict):
        return kind, tuple((_plain(key), _plain(each)) for key, each in value.items())
    if kind is types.BuiltinFunctionType or (kind is types.FunctionType and value.__closure__ is None):
        return kind, value
    raise _Unknown


def _ties(module: nn.Module) -> Hashable:
    """Return for each name the first name of the same layer or tensor."""
    first: dict[int, str] = {}
    named: list[tuple[str, object]] = [*_layers(module), *module.named_parameters(remove_duplicate=False)]
    named += module.named_buffers(remove_duplicate=False)
    return tuple((name, first.setdefault(id(each), name)) for name, each in named)


def _tensors(module: nn.Module) -> Iterator[Hashable]:
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        yield name, tensor.dtype, tuple(tensor.shape), "trained" if name in trained else _digest(tensor)


def _digest(tensor: torch.Tensor) -> bytes:
    values = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return hashlib.blake2b(values.numpy().tobytes()).digest()
