"""The cut: units leave a model, which becomes smaller, and computes what it did with zeros in their place."""

import copy
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.layer_sizes import kind_of
from fedcomp.shrink.pruning.groups import Group, Places

_TOLERANCE = 1e-3


def cut(module: nn.Module, groups: Sequence[Group], kept: Sequence[Places], example: Tensor) -> nn.Module:
    """Return a copy of ``module`` with only the ``kept`` units of each group, in eval mode.

    It is compared on ``example`` to the module with zeros in place of what was cut: the same, but for normalisation
    layers, whose statistics change with the number of channels; there, it is only run.

    Raises:
        ShrinkError: if nothing is cut, or the layers no longer fit together or compute something else.
    """
    dropped = _dropped(groups, kept)
    if not dropped:
        raise ShrinkError("expected units to take away, got none: every layer is as small as it may become")
    smaller = _without(module, dropped)
    silent = silenced(module, groups, kept)
    compare(smaller, silent, example, exactly=not _normalises(module, dropped))
    return smaller


def silenced(module: nn.Module, groups: Sequence[Group], kept: Sequence[Places]) -> nn.Module:
    """Return a copy of ``module``, in eval mode, with zeros in place of all but the ``kept`` units of each group."""
    silent = copy.deepcopy(module).eval()
    tensors = {**dict(silent.named_parameters()), **dict(silent.named_buffers())}
    with torch.no_grad():
        for name, axes in _dropped(groups, kept).items():
            for axis, places in axes.items():
                tensors[name].index_fill_(axis, torch.from_numpy(places), 0.0)
    return silent


def compare(smaller: nn.Module, silent: nn.Module, example: Tensor, *, exactly: bool) -> None:
    """Refuse a ``smaller`` module that does not answer ``example`` as ``silent`` does, the one with zeros instead.

    Without ``exactly`` it need only run and answer in the same shape.

    Raises:
        ShrinkError: if its layers no longer fit together, or it computes something else.
    """
    name = type(smaller).__name__
    with torch.no_grad():
        expected = silent(example)
        try:
            found = smaller(example)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise ShrinkError(f"layers of {name} no longer fit together after the cut: {error}") from error
    if found.shape != expected.shape:
        raise ShrinkError(f"a cut must leave outputs as they are, {list(expected.shape)}, got {list(found.shape)}")
    change = float((found - expected).norm() / expected.norm().clamp(min=1e-12))
    if exactly and not change <= _TOLERANCE:
        raise ShrinkError(f"a cut of {name} must not change what is left, got a change of {change:.2g}")


def example_of(shape: Iterable[int], dtype: np.dtype) -> Tensor:
    """Return a made-up row ``[1, ...]`` of that shape and kind: a wave, or tokens that are all 0."""
    size = tuple(shape)
    if np.dtype(dtype).kind in "iu":
        return torch.zeros((1, *size), dtype=torch.int64)
    count = int(np.prod(size))
    return torch.from_numpy(np.sin(np.arange(count, dtype=np.float32) + 1)).reshape(1, *size)


def _dropped(groups: Sequence[Group], kept: Sequence[Places]) -> dict[str, dict[int, Places]]:
    """Return the places to drop: by tensor, then by axis."""
    found: dict[str, dict[int, Places]] = {}
    for group, stays in zip(groups, kept, strict=True):
        for piece in group.pieces:
            leaves = piece.places[~np.isin(piece.units, stays)]
            if len(leaves):
                axes = found.setdefault(piece.tensor, {})
                axes[piece.axis] = np.union1d(axes.get(piece.axis, np.zeros(0, np.int64)), leaves)
    return found


def _without(module: nn.Module, dropped: dict[str, dict[int, Places]]) -> nn.Module:
    _refuse_tied(module, dropped)
    smaller = copy.deepcopy(module).eval()
    owners = dict(smaller.named_modules())
    for name, axes in dropped.items():
        path, _, tensor = name.rpartition(".")
        old = values = cast("Tensor", getattr(owners[path], tensor))
        for axis, places in axes.items():
            stays = np.setdiff1d(np.arange(old.shape[axis]), places)
            values = values.detach().index_select(axis, torch.from_numpy(stays))
        new = nn.Parameter(values, requires_grad=old.requires_grad) if isinstance(old, nn.Parameter) else values
        setattr(owners[path], tensor, new)
    for path in {name.rpartition(".")[0] for name in dropped}:
        if kind := kind_of(owners[path]):
            kind.refit(owners[path])
    return smaller


def _normalises(module: nn.Module, dropped: Iterable[str]) -> bool:
    owners = dict(module.named_modules())
    kinds = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._NormBase)
    return any(isinstance(owners[name.rpartition(".")[0]], kinds) for name in dropped)


def _refuse_tied(module: nn.Module, dropped: Iterable[str]) -> None:
    names: dict[nn.Parameter, set[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, set()).add(name)
    owners = dict(module.named_modules(remove_duplicate=False))
    for shared in names.values():
        layers = {owners[name.rpartition(".")[0]] for name in shared}
        if len(layers) > 1 and shared & set(dropped):
            raise ShrinkError(
                f"{' and '.join(sorted(shared))} are one tensor: expected layers with weights of their own"
            )
