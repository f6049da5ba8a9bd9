"""How many units each group keeps, for a number of multiply-adds: those that hurt least give the most."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.shrink.pruning.groups import Group
from fedcomp.shrink.pruning.sensitivity import SHARES


@dataclass(frozen=True, eq=False)
class Work:
    """The multiply-adds of linear layers and convolutions for a row, by how many units each group has left.

    ``uses``: how often a row uses each number of a weight; ``shapes`` of the weights; ``widths``, for each group and
    weight, how much shorter one unit less makes each axis.
    """

    uses: Mapping[str, float]
    shapes: Mapping[str, tuple[int, ...]]
    widths: Sequence[Mapping[str, Mapping[int, float]]]
    units: Sequence[int]

    def __call__(self, left: Sequence[int]) -> float:
        """Return the multiply-adds with ``left`` units of each group."""
        gone: dict[str, dict[int, float]] = {}
        for group, count in enumerate(left):
            for tensor, axes in self.widths[group].items():
                of = gone.setdefault(tensor, {})
                for axis, width in axes.items():
                    of[axis] = of.get(axis, 0.0) + width * (self.units[group] - count)
        total = 0.0
        for tensor, uses in self.uses.items():
            sizes = (size - gone.get(tensor, {}).get(axis, 0.0) for axis, size in enumerate(self.shapes[tensor]))
            total += uses * math.prod(sizes)
        return total


def work_of(module: nn.Module, groups: Sequence[Group], example: Tensor) -> Work:
    """Return what ``module`` computes of ``example [1, ...]``, as a function of its groups' units."""
    uses: dict[str, float] = {}
    with torch.no_grad(), _counting(module, uses):
        module(example)
    tensors = dict(module.named_parameters(remove_duplicate=False))
    widths: list[dict[str, dict[int, float]]] = []
    for group in groups:
        own: dict[str, dict[int, float]] = {}
        for piece in group.pieces:
            if piece.tensor in uses:
                axes = own.setdefault(piece.tensor, {})
                axes[piece.axis] = axes.get(piece.axis, 0.0) + len(piece.places) / group.units
        widths.append(own)
    shapes = {name: tuple(tensors[name].shape) for name in uses}
    return Work(uses, shapes, widths, [group.units for group in groups])


def allot(
    groups: Sequence[Group], damage: NDArray[np.float64], work: Work, even: Sequence[int], multiples: Sequence[int]
) -> list[int]:
    """Return how many units each group keeps, so that there is no more ``work`` than ``even`` units leave.

    ``damage [groups, len(SHARES)]`` is what ``sensitivities`` found, straight lines between; that of several groups is
    taken for the sum. Greedy: the group that hurts least for each multiply-add saved gives up to the next multiple of
    ``multiples``, again and again. Every group keeps a multiple at least, and half of its ``even`` units: a bottleneck
    that moves answers little now leaves a model that cannot learn much again.
    """
    left = [group.units for group in groups]
    steps = [math.lcm(multiple, group.parts) for group, multiple in zip(groups, multiples, strict=True)]
    least = [max(step, count / 2) for step, count in zip(steps, even, strict=True)]
    now, most = work(left), work(even)
    while now > most:
        best: tuple[float, int, int] | None = None
        for number, group in enumerate(groups):
            fewer = (math.ceil(left[number] / steps[number]) - 1) * steps[number]
            if fewer < least[number]:
                continue
            saved = now - work([*left[:number], fewer, *left[number + 1 :]])
            hurts = _at(damage[number], group, fewer) - _at(damage[number], group, left[number])
            if saved > 0 and (best is None or hurts / saved < best[0]):
                best = hurts / saved, number, fewer
        if best is None:
            break
        left[best[1]] = best[2]
        now = work(left)
    return left


def _at(damage: NDArray[np.float64], group: Group, left: int) -> float:
    return float(np.interp(1 - left / group.units, [0.0, *SHARES], [0.0, *damage.tolist()]))


@contextmanager
def _counting(module: nn.Module, uses: dict[str, float]) -> Iterator[None]:
    was_training = module.training
    handles = []

    def count(tensor: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(layer: nn.Module, _: Any, outputs: Tensor) -> None:
            rows = len(cast("Tensor", layer.weight))
            uses[tensor] = uses.get(tensor, 0.0) + outputs.numel() / rows

        return hook

    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            handles.append(layer.register_forward_hook(count(f"{name}.weight" if name else "weight")))
    module.eval()
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        module.train(was_training)
