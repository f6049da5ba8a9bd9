"""The sizes of a model's layers as JSON, and a model of those sizes from the dense one: no module is ever pickled.

A state dict holds a model's weights and not its shape, so that what a step has cut does not fit into the class that
made it. ``load_state_dict`` of the cut model fits into ``resized(task.network(), widths_of(cut))``.

Where whole layers of a list left, the list stands among the layers, as ``{"type": "ModuleList", "layers": [0, 2]}``:
the places, in the dense model's list, of those that stayed. They are numbered anew, as if there had never been others.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.factored import Convolution, Factored, factored_like
from fedcomp.shrink.layer_sizes import LayerKind, Sizes, kind_of

_GROUPED = ("groups", "num_groups")
_LISTS = (nn.ModuleList, nn.Sequential)
_KEPT = "kept_layers"  # an attribute of a list that lost layers: a state dict has no room for it


def widths_of(module: nn.Module) -> dict[str, dict[str, Any]]:
    """Return ``{layer's name: {"type": its class, size: number}}`` for every layer that has sizes; JSON values.

    Lists that lost layers are among them, with ``layers``, the places of those that stayed.
    """
    return {name: _widths(layer) for name, layer in _sized(module)}


def resized(module: nn.Module, widths: Mapping[str, Any]) -> nn.Module:
    """Return a copy of ``module``, the dense model, in which layers have these widths, as ``widths_of`` gave them.

    Layers whose sizes differ have zeros for weights, to be loaded; the others keep theirs. Nothing here may be trusted:
    sizes that are larger than the dense model's are refused, so that no file makes us fill the memory.

    Raises:
        ShrinkError: naming the layer, if ``widths`` are not those of a smaller version of ``module``.
    """
    smaller = copy.deepcopy(module)
    if isinstance(widths, Mapping):
        _drop_layers(smaller, widths)
    dense = dict(_sized(smaller))
    if not isinstance(widths, Mapping) or sorted(map(str, widths)) != sorted(dense):
        got = sorted(map(str, widths))[:50] if isinstance(widths, Mapping) else repr(widths)[:100]
        raise ShrinkError(f"widths: expected the layers {sorted(dense)}, got {got}")
    for name, layer in dense.items():
        _check(name, layer, widths[name])
    for name, layer in dense.items():
        smaller = _with_widths(smaller, name, layer, widths[name])
    return smaller


def thinned(module: nn.Module, name: str, places: Sequence[int]) -> None:
    """Leave in the list ``name`` of ``module`` only the layers at ``places``, in place, and note which they were.

    Numbered layers are numbered anew; those with names of their own keep them.
    """
    layers = module.get_submodule(name)
    stays = [list(layers._modules.items())[place] for place in places]
    counted = all(key.isdecimal() for key in layers._modules)
    noted = tuple(_kept_layers(layers)[place] for place in places)
    layers._modules = {str(number) if counted else key: each for number, (key, each) in enumerate(stays)}
    setattr(layers, _KEPT, noted)


def replaced(module: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """Return ``module`` with ``new`` wherever it had the layer ``old``, in place unless it is ``old`` itself."""
    if module is old:
        return new
    for parent in module.modules():
        for name, child in list(parent._modules.items()):  # named_children would pass over a layer's second name
            if child is old:
                setattr(parent, name, new)
    return module


def _sized(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    inside: set[nn.Module] = set()
    for name, layer in module.named_modules():
        if isinstance(layer, Factored):
            inside |= {layer.first, layer.second}
            yield name, layer
        elif layer not in inside and (kind_of(layer) or hasattr(layer, _KEPT)):
            yield name, layer


def _kept_layers(layers: nn.Module) -> tuple[int, ...]:
    return tuple(getattr(layers, _KEPT, range(len(layers._modules))))


def _drop_layers(module: nn.Module, widths: Mapping[Any, Any]) -> None:
    """Drop from lists of ``module``, in place, what is not among the ``layers`` that ``widths`` say of them.

    Raises:
        ShrinkError: naming the list, for what is none, or layers that it does not have.
    """
    said = {name: of for name, of in widths.items() if isinstance(name, str) and isinstance(of, Mapping)}
    for name in sorted((name for name, of in said.items() if "layers" in of), key=len):  # a list before those in it
        layers, stays = dict(module.named_modules()).get(name), said[name]["layers"]
        if not isinstance(layers, _LISTS):
            raise ShrinkError(f"widths of {name[:100]}: expected a list of layers, got {type(layers).__name__}")
        places = {layer: place for place, layer in enumerate(_kept_layers(layers))}
        numbers = isinstance(stays, list) and stays and all(type(layer) is int and layer in places for layer in stays)
        if not numbers or stays != sorted(set(stays)):
            expected = f"some of {list(places)}, ascending"
            raise ShrinkError(f"widths of {name}: layers must be {expected}, got {repr(stays)[:100]}")
        thinned(module, name, [places[layer] for layer in stays])


def _widths(layer: nn.Module) -> dict[str, Any]:
    if hasattr(layer, _KEPT):
        return {"type": type(layer).__name__, "layers": list(_kept_layers(layer))}
    if isinstance(layer, Factored):
        kind = cast("LayerKind", kind_of(layer.first))
        of = kind.attributes[:2]
        return {"type": "Factored", **{name: getattr(layer, name) for name in of}, "rank": layer.rank}
    return {"type": type(layer).__name__, **cast("LayerKind", kind_of(layer)).read(layer)}


def _check(name: str, layer: nn.Module, found: Any) -> None:
    """Refuse what is not the description of a smaller ``layer``."""
    expected = _widths(layer)
    if isinstance(found, Mapping) and found.get("type") == "Factored" and _can_be_factored(layer):
        expected = _largest_pair(layer)
    if not isinstance(found, Mapping) or set(found) != set(expected) or found["type"] != expected["type"]:
        raise ShrinkError(f"widths of {name}: expected {expected} or smaller, got {repr(found)[:200]}")
    for size, most in expected.items():
        if size in ("type", "layers"):  # layers are as expected: the others were dropped
            continue
        value = found[size]
        if type(value) is not int or not 1 <= value <= most:
            raise ShrinkError(f"widths of {name}: {size} must be in 1..{most}, got {repr(value)[:50]}")
    _check_groups(name, found)


def _check_groups(name: str, found: Mapping[str, Any]) -> None:
    for groups in set(_GROUPED) & set(found):
        for size, value in found.items():
            if size.endswith("channels") and value % found[groups]:
                raise ShrinkError(f"widths of {name}: {size} must be a multiple of {found[groups]} groups, got {value}")


def _can_be_factored(layer: nn.Module) -> bool:
    return isinstance(layer, Factored | nn.Linear) or (isinstance(layer, Convolution) and layer.groups == 1)


def _largest_pair(layer: nn.Module) -> dict[str, Any]:
    if isinstance(layer, Factored):
        return _widths(layer)
    weight = cast("Tensor", layer.weight)
    of = cast("LayerKind", kind_of(layer)).attributes[:2]
    rank = min(len(weight), weight[0].numel())
    return {"type": "Factored", **{name: getattr(layer, name) for name in of}, "rank": rank}


def _with_widths(module: nn.Module, name: str, layer: nn.Module, widths: Mapping[str, Any]) -> nn.Module:
    if widths == _widths(layer):
        return module
    sizes: Sizes = {size: value for size, value in widths.items() if size != "type"}
    if "rank" not in sizes:
        cast("LayerKind", kind_of(layer)).resize(layer, sizes)
        return module
    if not isinstance(layer, Factored):
        pair = factored_like(cast("nn.Linear", layer), sizes["rank"])
        module = replaced(module, layer, pair)
        layer = pair
    _resize_pair(layer, sizes)
    return module


def _resize_pair(layer: Factored, sizes: Sizes) -> None:
    kind = cast("LayerKind", kind_of(layer.first))
    inside, outside = kind.attributes[:2]
    more = {"groups": 1} if "groups" in kind.attributes else {}
    kind.resize(layer.first, {inside: sizes[inside], outside: sizes["rank"], **more})
    kind.resize(layer.second, {inside: sizes["rank"], outside: sizes[outside], **more})
