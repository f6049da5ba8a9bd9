"""Structured pruning of depth: whole residual layers leave a model, which is run with fewer of them.

A residual layer hands on what it gets and adds something to it, so that without it the others still get what they know
(G. Huang, Y. Sun, Z. Liu, D. Sedra and K. Weinberger, *Deep Networks with Stochastic Depth*, 2016; A. Fan, E. Grave and
A. Joulin, *Reducing Transformer Depth on Demand with Structured Dropout*, 2020).
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.pruning.cut import compare, example_of
from fedcomp.shrink.widths import thinned

Layers = Mapping[str, list[int]]
"""Lists of layers by name, and places in them."""


@dataclass(frozen=True)
class Depth(Step):
    """Leaves ``keep`` residual layers in the list ``stack``, or in every list that has more.

    They are evenly spaced, from the first: no other layer has ever read what comes in, and what was cut without it
    answers far worse (a slow test measures that on digits). Which of the others stay matters little once the model has
    learned again: S. Shleifer and A. Rush, *Pre-trained Summarization Distillation* (2020); H. Sajjad, F. Dalvi,
    N. Durrani and P. Nakov, *On the Effect of Dropping Layers of Pre-trained Transformer Models* (2023).

    A list is a ``ModuleList`` or ``Sequential``; which of its layers are residual, ``residual_layers`` finds out by
    running the model. What else is in a list stays. A decoder of one layer under an encoder of many decodes fast
    (J. Kasai et al., *Deep Encoder, Shallow Decoder*, 2021). Reads no rows: their shape alone.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "depth"
    reads = False
    stack: str = ""
    """The list's name; all lists of the model if left out, but for those inside of another."""
    keep: int = 1

    def __post_init__(self) -> None:
        if type(self.keep) is not int or self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep!r}")
        if type(self.stack) is not str:
            raise ValueError(f"stack must be a list's name, got {self.stack!r}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with fewer layers; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without such a list, or one that does not run or computes something else without
                the layers.
        """
        example = example_of(material.inputs.shape[1:], material.inputs.dtype)
        found = self._found(module, residual_layers(module, example))
        leaving = {name: sorted(set(places) - set(_spaced(places, self.keep))) for name, places in found.items()}
        return _without(module, leaving, example)

    def _found(self, module: nn.Module, lists: Layers) -> Layers:
        """Return the lists that layers are to leave."""
        deep = {name: places for name, places in lists.items() if len(places) > self.keep}
        if self.stack and self.stack not in deep:
            have = {name: len(places) for name, places in lists.items()}
            raise ShrinkError(
                f"depth: expected more than {self.keep} residual layers in the list {self.stack!r}, got "
                f"{have.get(self.stack, 0)} (a {type(module).__name__} has {have or 'none'})"
            )
        if not deep:
            raise ShrinkError(
                f"depth: expected a list of more than {self.keep} residual layers, which hand on what they get when "
                f"their weights are zero, got a {type(module).__name__} without"
            )
        if self.stack:
            return {self.stack: deep[self.stack]}
        return {name: places for name, places in deep.items() if not _is_inside(name, deep)}


def residual_layers(module: nn.Module, example: Tensor) -> Layers:
    """Return the lists of ``module`` that have residual layers, and the places of those.

    A layer is residual if it takes one tensor first, returns one of the same shape, and, with all its weights at zero,
    hands on unchanged what it gets when ``module`` answers ``example [1, ...]``. So does ``x + f(x)``, with ReLU behind
    it where only that comes in; not so a layer that normalises the sum.

    Raises:
        ShrinkError: if ``module`` cannot answer ``example``.
    """
    own = copy.deepcopy(module).eval()
    lists = {name: list(each) for name, each in own.named_modules() if isinstance(each, nn.ModuleList | nn.Sequential)}
    weighty = {layer for layers in lists.values() for layer in layers if any(True for _ in layer.parameters())}
    blanks = {layer: _blank(layer) for layer in weighty}
    handed_on: dict[nn.Module, list[bool]] = {layer: [] for layer in blanks}
    for layer, blank in blanks.items():
        layer.register_forward_hook(_listen(blank, handed_on[layer]), with_kwargs=True)
    try:
        with torch.no_grad():
            own(example)
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        raise ShrinkError(f"expected a model of rows {list(example.shape[1:])}, got one that fails: {error}") from error
    residual = {layer for layer, said in handed_on.items() if said and all(said)}
    places = {name: [place for place, each in enumerate(layers) if each in residual] for name, layers in lists.items()}
    return {name: found for name, found in places.items() if found}


def _blank(layer: nn.Module) -> nn.Module:
    blank = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in blank.parameters():
            parameter.zero_()
    return blank


def _listen(blank: nn.Module, said: list[bool]) -> Callable[..., None]:
    """Return a hook that notes whether ``blank``, the layer without weights, hands on what the layer gets."""

    def hook(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], outputs: Any) -> None:
        given = inputs[0] if inputs else None
        if not isinstance(given, Tensor) or not isinstance(outputs, Tensor) or given.shape != outputs.shape:
            said.append(False)
            return
        telling = bool(given.count_nonzero())  # zeros pass through anything
        said.append(telling and torch.allclose(blank(*inputs, **options), given))

    return hook


def _spaced(places: list[int], keep: int) -> list[int]:
    """Return ``keep`` of ``places``, evenly spaced, the first one among them."""
    return [places[number * len(places) // keep] for number in range(keep)]


def _without(module: nn.Module, leaving: Layers, example: Tensor) -> nn.Module:
    smaller, silent = copy.deepcopy(module).eval(), copy.deepcopy(module).eval()
    for name, places in leaving.items():
        layers = list(silent.get_submodule(name)._modules.values())  # children() would pass over a second place
        for place in places:
            for parameter in cast("nn.Module", layers[place]).parameters():
                nn.init.zeros_(parameter)
        thinned(smaller, name, [place for place in range(len(layers)) if place not in places])
    compare(smaller, silent, example, exactly=True)
    return smaller


def _is_inside(name: str, lists: Layers) -> bool:
    return any(other != name and (not other or name.startswith(f"{other}.")) for other in lists)
