"""Low rank: a layer becomes two smaller ones, from the singular value decomposition of its weights.

On a CPU it is faster only where the rank is under about a quarter of the layer's smaller side.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.factored import Convolution, Factored, factored_like
from fedcomp.shrink.widths import replaced

_Layer = nn.Linear | Convolution
_ROUNDING = 1e-12  # what float32 leaves in singular values that are zero, squared


@dataclass(frozen=True, eq=False)
class _Decomposed:
    """A layer's weights ``[outputs, inputs]`` as ``left * values @ right``, singular values falling."""

    left: Tensor
    values: Tensor
    right: Tensor

    def rank(self, energy: float) -> int:
        """Return the least rank that keeps this share of the squared singular values."""
        kept = self.values.double().square().cumsum(0)
        return min(len(kept), int((kept < energy * (1 - _ROUNDING) * kept[-1]).sum()) + 1)

    def saved(self, rank: int) -> int:
        """Return how many parameters two layers of this rank have less than one, 0 if they have more."""
        outputs, inputs = self.left.shape[0], self.right.shape[1]
        return max(0, outputs * inputs - rank * (outputs + inputs))


@dataclass(frozen=True)
class LowRank(Step):
    """Replaces linear layers and convolutions by two smaller ones, where that saves parameters; see ``Factored``.

    E. Denton, W. Zaremba, J. Bruna, Y. LeCun and R. Fergus, *Exploiting Linear Structure Within Convolutional Networks
    for Efficient Evaluation* (2014). Each layer gets the least rank that keeps the share ``energy`` of its squared
    singular values; or, with ``keep``, the largest such share with which at most the share ``keep`` of the model's
    parameters is left, all layers together. Convolutions of several groups stay.
    Heads are to be cut before: the step ``heads`` looks for plain linear layers.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "low-rank"
    reads = False
    energy: float = 0.9
    keep: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.energy < 1:
            raise ValueError(f"energy must be in (0, 1), got {self.energy}")
        if self.keep is not None and not 0 < self.keep < 1:
            raise ValueError(f"keep must be in (0, 1), got {self.keep}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with pairs of layers; see ``Step.apply``.

        Raises:
            ShrinkError: if no layer gets smaller, or the model cannot be made as small as it is to be.
        """
        smaller = copy.deepcopy(module).eval()
        layers = {name: layer for name, layer in smaller.named_modules() if _can_be_factored(layer)}
        inside = {child for layer in smaller.modules() if isinstance(layer, Factored) for child in layer.children()}
        parts = {name: _decomposed(cast("_Layer", layer)) for name, layer in layers.items() if layer not in inside}
        energy = self.energy
        if self.keep is not None:
            total = sum(parameter.numel() for parameter in smaller.parameters())
            energy = _fitting_energy(parts, total, int(self.keep * total))
        ranks = {name: part.rank(energy) for name, part in parts.items() if part.saved(part.rank(energy))}
        if not ranks:
            raise ShrinkError(
                f"low-rank: expected a layer that two of lower rank are smaller than, got none at {energy:.3g}"
            )
        for name, rank in ranks.items():
            smaller = replaced(smaller, layers[name], _pair(cast("_Layer", layers[name]), parts[name], rank))
        return smaller.eval()


def _can_be_factored(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, Convolution) and layer.groups == 1)


def _decomposed(layer: _Layer) -> _Decomposed:
    return _Decomposed(*torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False))


def _fitting_energy(parts: Mapping[str, _Decomposed], total: int, most: int) -> float:
    """Return the largest share, to a millionth, with which the model has at most ``most`` of ``total`` parameters."""

    def size(share: float) -> int:
        return total - sum(part.saved(part.rank(share)) for part in parts.values())

    if size(0.0) > most:
        raise ShrinkError(f"low-rank: expected at most {most} parameters, got {size(0.0)} with every layer at rank 1")
    if size(1.0) <= most:
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= most else (low, middle)
    return low


def _pair(layer: _Layer, part: _Decomposed, rank: int) -> Factored:
    pair = factored_like(layer, rank)
    root = part.values[:rank].sqrt()  # shared out evenly, so that neither layer has much larger weights
    with torch.no_grad():
        for half, values in (
            (pair.second, part.left[:, :rank] * root),
            (pair.first, root[:, None] * part.right[:rank]),
        ):
            weight = cast("Tensor", half.weight)
            weight.copy_(values.reshape(weight.shape))
        if layer.bias is not None:
            cast("Tensor", pair.bias).copy_(layer.bias)
    return pair
