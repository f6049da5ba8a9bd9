"""Structured pruning of Transformers: heads of attention, and hidden units of the layers between.

P. Michel, O. Levy and G. Neubig, *Are Sixteen Heads Really Better than One?* (2019): most heads can leave.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.pruning.choice import check_options, choose
from fedcomp.shrink.pruning.cut import cut, example_of
from fedcomp.shrink.pruning.groups import Group, Piece
from fedcomp.shrink.pruning.probe import poison_last, readers
from fedcomp.shrink.pruning.scores import norms

_PROJECTIONS = ("query", "key", "value")


@dataclass(frozen=True)
class Heads(Step):
    """Removes the share ``ratio`` of each attention's heads, and of hidden units; the smallest by L2 norm of weights.

    An attention is a module that ``owns_heads``. Hidden units are the outputs of a linear layer outside of attentions
    that other linear layers alone read. Hidden units that stay are a multiple of ``round_to``; of heads, at least one
    stays. States keep their width, and the model's outputs theirs. Reads no rows: their shape alone.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "heads"
    reads = False
    ratio: float = 0.5
    ffn_ratio: float | None = None
    """Of hidden units, if another than of heads; 0 for none."""
    round_to: int = 8

    def __post_init__(self) -> None:
        check_options(self.ratio, self.round_to)
        if self.ffn_ratio is not None and not 0 <= self.ffn_ratio < 1:
            raise ValueError(f"ffn_ratio must be in [0, 1), got {self.ffn_ratio}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with fewer heads and hidden units; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without attention that can lose heads.
        """
        example = example_of(material.inputs.shape[1:], material.inputs.dtype)
        heads = attention_heads(module)
        if not heads:
            raise ShrinkError(f"heads: expected attention that owns heads, got a {type(module).__name__} without")
        share = self.ratio if self.ffn_ratio is None else self.ffn_ratio
        hidden = list(hidden_units(module, example)) if share else []
        kept = [
            *choose(heads, norms(module, heads), self.ratio, "layer", 1),
            *choose(hidden, norms(module, hidden), share, "layer", self.round_to),
        ]
        return cut(module, [*heads, *hidden], kept, example)


def owns_heads(layer: nn.Module) -> bool:
    """Return whether a module is an attention whose heads can be taken out.

    It has linear layers ``query``, ``key``, ``value`` and ``output`` and an integer ``head_width``, heads lie one after
    the other in the projections, and it reads their number from the projections' sizes.
    """
    projections = (getattr(layer, name, None) for name in (*_PROJECTIONS, "output"))
    return isinstance(getattr(layer, "head_width", None), int) and all(isinstance(p, nn.Linear) for p in projections)


def attention_heads(module: nn.Module) -> list[Group]:
    """Return the heads of each attention of ``module``."""
    return [_heads(name, layer) for name, layer in module.named_modules() if owns_heads(layer)]


def hidden_units(module: nn.Module, example: Tensor) -> Iterator[Group]:
    """Yield the hidden units of every linear layer that other linear layers alone read."""
    attentions = tuple(f"{name}." if name else "" for name, layer in module.named_modules() if owns_heads(layer))
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Linear) or name.startswith(attentions):
            continue
        try:
            found = readers(module, name, layer.out_features, poison_last, example)
        except ShrinkError:
            continue  # its outputs are states, or the model's own: their width stays
        if not found or any(not isinstance(module.get_submodule(reader), nn.Linear) for reader in found):
            continue
        units = np.arange(layer.out_features)
        pieces = [Piece(f"{name}.{tensor}", 0, units, units) for tensor, _ in layer.named_parameters()]
        for reader, numbers in found.items():
            columns = np.flatnonzero(numbers >= 0)
            pieces.append(Piece(f"{reader}.weight", 1, columns, numbers[columns]))
        yield Group(name, layer.out_features, tuple(pieces))


def _heads(name: str, layer: nn.Module) -> Group:
    path, width = f"{name}." if name else "", int(layer.head_width)  # type: ignore[arg-type]
    places = np.arange(cast("nn.Linear", layer.query).out_features)
    pieces = [
        Piece(f"{path}{projection}.{tensor}", 0, places, places // width)
        for projection in _PROJECTIONS
        for tensor, _ in layer.get_submodule(projection).named_parameters()
    ]
    pieces.append(Piece(f"{path}output.weight", 1, places, places // width))
    return Group(name, len(places) // width, tuple(pieces))
