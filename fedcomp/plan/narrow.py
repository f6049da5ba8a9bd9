"""A narrower copy of a model: fewer channels in every layer but the last, and which of the model's values it has.

Of every layer the first channels are kept (Diao, Ding and Tarokh, *HeteroFL*, 2021; their scaling of a narrow model's
activations is left out, and so is normalisation, which would not compute alike at two widths). What that means for the
inputs of the next layer, behind whatever reshapes, pools, joins or adds up, is found out by running the model on
made-up rows with NaN in the channels that are dropped: an input that is NaN depends on one of them.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.aggregation import Slices
from fedcomp.aggregation.slices import Places
from fedcomp.arrays import Array, Arrays
from fedcomp.errors import FedcompError
from fedcomp.training import get_arrays, set_arrays

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ROWS = 3
_TOLERANCE = 1e-4
_RAISED = (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)


class NarrowError(FedcompError):
    """A model that has no narrower copy."""


@dataclass(frozen=True, eq=False)
class Narrow:
    """The narrower model, and what it has of the whole one's values."""

    slices: Slices
    _module: nn.Module

    def module(self) -> nn.Module:
        """Return a new narrower module; its weights are to be set from ``slices.take`` of the whole model's arrays."""
        return copy.deepcopy(self._module)


def narrow(module: nn.Module, width: float, row_shape: tuple[int, ...], dtype: np.dtype[Any]) -> Narrow:
    """Return a copy of ``module`` that keeps ``width`` of each layer's channels, rounded up, and all of the last's.

    It computes what ``module`` computes when the values that it lacks are zero; that is tried, not assumed. The result
    follows from the structure of ``module`` alone: not from its weights, and not from any row.

    Args:
        module: of linear layers, convolutions (depthwise ones too) and layers without weights; not changed. One that
            normalises, attends or recurs over the channels that are dropped is refused.
        width: share of the channels, in (0, 1].
        row_shape: of one input row.
        dtype: of input rows.

    Raises:
        NarrowError: if the model has no such copy, and why.
        ValueError: for a width out of range.
    """
    if not 0 < width <= 1:
        raise ValueError(f"width must be in (0, 1], got {width}")
    whole, rows = copy.deepcopy(module).eval(), _made_up_rows(row_shape, dtype)
    set_arrays(whole, _made_up_weights(get_arrays(whole)))
    try:
        slices = _slices(whole, _Marks(whole, width, rows).kept)
        cut = _cut(whole, slices)
        expected, found = _outputs_without_the_rest(whole, slices, rows), _outputs(cut, whole, slices, rows)
    except _RAISED as error:
        raise NarrowError(f"it cannot be run with fewer channels: {error}") from error
    if expected.shape != found.shape or not torch.allclose(expected, found, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise NarrowError("a narrower copy computes something else than the model with its other channels at zero")
    return Narrow(slices, cut)


class _Marks:
    """Runs a model once with NaN in what is dropped; ``kept`` has each layer's output and input places, by name."""

    def __init__(self, module: nn.Module, width: float, rows: torch.Tensor) -> None:
        self._width, self.kept = width, dict[str, Places]()
        self._last = _called(module, rows)[-1]
        hooks = []
        for name, layer in _layers(module):
            hooks += [layer.register_forward_pre_hook(self._before(name))]
            hooks += [layer.register_forward_hook(self._after(name))]
        try:
            with torch.no_grad():
                outputs = module(rows)
        finally:
            for hook in hooks:
                hook.remove()
        if outputs.isnan().any():
            raise NarrowError(f"its outputs depend on a layer before the last one, {self._last!r}, other than by it")

    def _before(self, name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            marked = _by_channel(layer, inputs[0]).isnan().flatten(1).any(dim=1)
            entering = _places(~marked)
            kept = (self._leaving(name, layer, entering), entering)
            if not len(entering) or (name in self.kept and not _same(self.kept[name], kept)):
                raise NarrowError(f"layer {name!r} has no inputs that stay, or others each time that it is used")
            self.kept[name] = kept
            return (inputs[0].nan_to_num(nan=0.0),)

        return hook

    def _after(self, name: str) -> Any:
        def hook(layer: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
            marks = torch.full_like(output, math.nan)
            kept = torch.from_numpy(self.kept[name][0])
            _by_channel(layer, marks)[kept] = 0.0  # a view: this writes into the marks
            return output + marks

        return hook

    def _leaving(self, name: str, layer: Any, entering: NDArray[np.int64]) -> NDArray[np.int64]:
        size = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        if name == self._last:
            return np.arange(size)
        if getattr(layer, "groups", 1) == 1:
            return np.arange(math.ceil(self._width * size - 1e-9))
        if layer.groups != layer.in_channels:
            raise NarrowError(f"layer {name!r}: expected a convolution of 1 or {layer.in_channels} groups")
        each = size // layer.groups  # a depthwise layer keeps the channels that it gets
        return np.asarray(entering[:, None] * each + np.arange(each)).ravel()


def _slices(module: nn.Module, kept: dict[str, Places]) -> Slices:
    """Return all arrays' places: a layer's by what is kept of it, and everything of other arrays."""
    places = {name: tuple(map(np.arange, array.shape)) for name, array in get_arrays(module).items()}
    for name, layer in _layers(module):
        if name not in kept:
            raise NarrowError(f"layer {name!r} is not used when the model runs")
        (leaving, entering), weight, bias = kept[name], _array(name, "weight"), _array(name, "bias")
        each, *rest = places[weight][1:]  # a depthwise layer has one input a channel, whichever that is
        places[weight] = (leaving, each if getattr(layer, "groups", 1) > 1 else entering, *rest)
        if bias in places:
            places[bias] = (leaving,)
    return Slices(places)


def _cut(module: nn.Module, slices: Slices) -> nn.Module:
    """Return a copy whose layers are physically smaller."""
    smaller: nn.Module = copy.deepcopy(module)
    for name, found in _layers(smaller):
        layer: Any = found
        for part in ("weight", "bias"):
            parameter = getattr(layer, part)
            if parameter is not None:
                values = parameter.detach().numpy()
                taken = np.ascontiguousarray(values[slices.index(_array(name, part), values)])
                setattr(layer, part, nn.Parameter(torch.from_numpy(taken), parameter.requires_grad))
        leaving, entering = layer.weight.shape[:2]
        if isinstance(layer, nn.Linear):
            layer.out_features, layer.in_features = leaving, entering
        else:
            layer.groups = 1 if layer.groups == 1 else leaving * layer.groups // layer.out_channels
            layer.out_channels, layer.in_channels = leaving, entering * layer.groups
    return smaller


def _outputs_without_the_rest(whole: nn.Module, slices: Slices, rows: torch.Tensor) -> torch.Tensor:
    arrays = get_arrays(whole)
    alone = {name: np.zeros_like(array) for name, array in arrays.items()}
    for name, array in arrays.items():
        at = slices.index(name, array)
        alone[name][at] = array[at]
    zeroed = copy.deepcopy(whole)
    set_arrays(zeroed, alone)
    with torch.no_grad():
        outputs: torch.Tensor = zeroed(rows)
    return outputs


def _outputs(cut: nn.Module, whole: nn.Module, slices: Slices, rows: torch.Tensor) -> torch.Tensor:
    set_arrays(cut, slices.take(get_arrays(whole)))
    with torch.no_grad():
        outputs: torch.Tensor = cut(rows)
    return outputs


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield what is made narrower: layers of exactly these types, since a subclass may compute something else.

    What is not trained never travels, so it stays as it is.
    """
    for name, layer in module.named_modules():
        if (type(layer) is nn.Linear or type(layer) in _CONVOLUTIONS) and layer.weight.requires_grad:
            yield name, layer


def _array(layer: str, part: str) -> str:
    return f"{layer}.{part}" if layer else part


def _called(module: nn.Module, rows: torch.Tensor) -> list[str]:
    """Return the names of the layers in the order in which they are used."""
    order: list[str] = []
    hooks = [layer.register_forward_hook(lambda *_, name=name: order.append(name)) for name, layer in _layers(module)]
    try:
        with torch.no_grad():
            module(rows)
    finally:
        for hook in hooks:
            hook.remove()
    if not order:
        raise NarrowError("it has no linear layer and no convolution")
    return order


def _by_channel(layer: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Return a view of a layer's inputs or outputs with the channels first."""
    return values.movedim(-1 if isinstance(layer, nn.Linear) else 1, 0)


def _places(kept: torch.Tensor) -> NDArray[np.int64]:
    return np.asarray(kept.nonzero()[:, 0].numpy(), dtype=np.int64)


def _same(left: Places, right: Places) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def _made_up_rows(shape: tuple[int, ...], dtype: np.dtype[Any]) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if np.issubdtype(dtype, np.floating):
        return torch.from_numpy(rng.standard_normal((_ROWS, *shape)).astype(np.float32))
    return torch.from_numpy(rng.integers(0, 2, (_ROWS, *shape)))


def _made_up_weights(arrays: Arrays) -> dict[str, Array]:
    """Return weights of the size that initial ones have; none is zero, so that none hides what depends on it."""
    rng = np.random.default_rng(0)
    found = {}
    for name, array in arrays.items():
        drawn = rng.standard_normal(array.shape) / math.sqrt(max(1, array[:1].size)) if array.ndim > 1 else None
        values = 0.5 + 0.1 * rng.standard_normal(array.shape) if drawn is None else drawn
        found[name] = np.asarray(values, array.dtype)
    return found
