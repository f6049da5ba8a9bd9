"""Unstructured pruning: single weights become zero, and layers keep their shapes.

What it makes smaller is the file, after entropy coding. It makes nothing faster on a CPU: zeros in a dense tensor are
multiplied like any other number, and sparse kernels win from about nine zeros in ten on.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.layer_sizes import kind_of
from fedcomp.shrink.pruning.choice import Scope, check_scope
from fedcomp.shrink.pruning.scores import weights_times_gradients


@dataclass(frozen=True)
class Weights(Step):
    """Keeps the share ``density`` of weights, the largest by magnitude; the others become zero.

    S. Han, J. Pool, J. Tran and W. Dally, *Learning both Weights and Connections for Efficient Neural Networks* (2015).
    ``scope``: the share of each tensor, or of all together (``global``). Biases and normalisation keep all they have.
    For the file's size after entropy coding, not for speed.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "weights"
    reads = False
    density: float = 0.3
    scope: Scope = "layer"

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise ValueError(f"density must be in (0, 1), got {self.density}")
        check_scope(self.scope)

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with zeros; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without layers that have weights.
        """
        scores = self._scores(module, material)
        if self.scope == "layer":
            return masked_copy(module, {name: _best(values, self.density) for name, values in scores.items()})
        together = _best(torch.cat([values.flatten() for values in scores.values()]), self.density)
        parts = torch.split(together, [values.numel() for values in scores.values()])
        return masked_copy(
            module, {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}
        )

    def _scores(self, module: nn.Module, material: Material) -> dict[str, Tensor]:
        return {name: weight.detach().abs() for name, weight in prunable(module)}


@dataclass(frozen=True)
class TaylorWeights(Weights):
    """``Weights`` chosen by what the loss on the material's rows would change by without each, to the first order.

    P. Molchanov, A. Mallya, S. Tyree, I. Frosio and J. Kautz, *Importance Estimation for Neural Network Pruning*
    (2019): the square of weight times gradient, the mean over batches.
    """

    id = "weights-taylor"
    reads = True

    def _scores(self, module: nn.Module, material: Material) -> dict[str, Tensor]:
        found = {name: torch.zeros_like(weight, dtype=torch.float64) for name, weight in prunable(module)}
        for products in weights_times_gradients(module, material):
            for name, total in found.items():
                total += products[name].square()
        # a weight that no batch cares for scores 0; one that is zero already is to go before it
        return {
            name: torch.where(weight == 0, -1.0, found[name])
            for name, weight in module.named_parameters()
            if name in found
        }


def prunable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the tensors that masks are for: those of several axes in layers that have sizes.

    Raises:
        ShrinkError: if there is none.
    """
    layers = dict(module.named_modules())
    found = [
        (name, weight)
        for name, weight in module.named_parameters()
        if weight.ndim > 1 and kind_of(layers[name.rpartition(".")[0]])
    ]
    if not found:
        raise ShrinkError(f"expected layers that have weights, got a {type(module).__name__} without")
    yield from found


def masked_copy(module: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of ``module`` in eval mode, with zeros where a tensor's mask is False."""
    smaller = copy.deepcopy(module).eval()
    with torch.no_grad():
        for name, weight in smaller.named_parameters():
            if name in masks:
                weight.masked_fill_(~masks[name], 0.0)
    return smaller


def _best(scores: Tensor, density: float) -> Tensor:
    """Return where the largest of ``scores`` are, at least one; of equals, the first."""
    order = scores.flatten().argsort(descending=True, stable=True)[: max(1, round(density * scores.numel()))]
    mask = torch.zeros(scores.numel(), dtype=torch.bool)
    mask[order] = True
    return mask.reshape(scores.shape)
