"""How much units matter: by their weights alone, or by what a loss on rows says of them."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.groups import Group

_BATCH = 32


def norms(module: nn.Module, groups: Sequence[Group]) -> list[NDArray[np.float64]]:
    """Return for each group the L2 norm of all that leaves with a unit, ``[units]``, over the group's mean.

    The group norm of Fang et al., *DepGraph* (2023). Over the mean, since groups hold unequal numbers of weights and
    are compared to each other in global scope.
    """
    squares = {name: tensor.detach().double().square() for name, tensor in module.named_parameters()}
    found = [np.sqrt(_sums(squares, group)) for group in groups]
    return [scores / max(float(scores.mean()), 1e-300) for scores in found]


def saliencies(module: nn.Module, groups: Sequence[Group], material: Material) -> list[NDArray[np.float64]]:
    """Return for each group what the loss would change by without a unit, squared, ``[units]``, to the first order.

    P. Molchanov, A. Mallya, S. Tyree, I. Frosio and J. Kautz, *Importance Estimation for Neural Network Pruning*
    (2019): weight times gradient, added up over a unit's weights, squared, and the mean over batches.

    Raises:
        ShrinkError: as ``weights_times_gradients``.
    """
    totals = [np.zeros(group.units) for group in groups]
    for products in weights_times_gradients(module, material):
        for total, group in zip(totals, groups, strict=True):
            total += np.square(_sums(products, group))
    return totals


def weights_times_gradients(module: nn.Module, material: Material) -> Iterator[dict[str, Tensor]]:
    """Yield for each batch of the material's rows every parameter, by name, times the gradient of the mean loss.

    Where rows have no targets, the teacher's likeliest answers are taken for them.

    Raises:
        ShrinkError: without rows, or with neither targets nor a teacher, or if the loss is not finite.
    """
    rows = torch.from_numpy(np.array(material.inputs))
    rows = rows.float() if rows.is_floating_point() else rows.long()
    targets = _targets(material, rows)
    own = copy.deepcopy(module).eval().requires_grad_(True)
    parameters = dict(own.named_parameters())
    with torch.enable_grad():
        for batch in torch.split(torch.arange(len(rows)), _BATCH):
            loss = material.loss(own(rows[batch]), targets[batch]).mean()
            if not bool(torch.isfinite(loss)):
                raise ShrinkError(f"expected a finite loss on the rows that weights are judged by, got {loss.item()}")
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
            yield {
                name: torch.zeros_like(each).double() if slope is None else (each.detach() * slope).double()
                for (name, each), slope in zip(parameters.items(), gradients, strict=True)
            }


def _sums(values: Mapping[str, Tensor], group: Group) -> NDArray[np.float64]:
    total = np.zeros(group.units)
    for piece in group.pieces:
        if piece.tensor in values:  # running statistics are no parameters and have no say
            tensor = values[piece.tensor].movedim(piece.axis, 0)
            along = tensor.reshape(len(tensor), -1).sum(1).numpy()
            total += np.bincount(piece.units, along[piece.places], group.units)
    return total


def _targets(material: Material, rows: Tensor) -> Tensor:
    if not len(rows):
        raise ShrinkError("expected rows to judge weights by, got 0")
    if material.targets is not None:
        return torch.from_numpy(np.array(material.targets))
    if material.teacher is None:
        raise ShrinkError("expected targets or a teacher to judge weights by, got rows alone")
    with torch.no_grad():
        return torch.cat([material.teacher(batch).argmax(-1) for batch in torch.split(rows, _BATCH)])
