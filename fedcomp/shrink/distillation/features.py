"""Hints: what a teacher's hidden layers compute, for the student's to come close to.

Romero, Ballas, Kahou, Chassang, Gatta and Bengio, *FitNets: Hints for thin deep nets* (2015).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedcomp.shrink.base import ShrinkError

_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, nn.GRU, nn.LSTM)
_TINY = 1e-12


class Hints:
    """Pairs of a student's and a teacher's layers, and for each pair of other widths a linear map learnt with it.

    Args:
        student: the module that learns.
        teacher: in eval mode.
        layers: names of layers of both modules, or ``"student=teacher"`` where their names differ; without any, the
            last hidden layer that both have.
        rows: a few rows that both eat; they are run once, to see how wide layers are.
        rng: draws the maps to start with.

    Raises:
        ShrinkError: for a layer that a module lacks or does not run, or features whose shapes differ beyond width.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        layers: Sequence[str],
        rows: torch.Tensor,
        rng: np.random.Generator,
    ) -> None:
        pairs = [_pair(name) for name in layers or _shared(student, teacher)]
        self._student, self._teacher = student, teacher
        self._names = [own for own, _ in pairs], [other for _, other in pairs]
        self._maps: list[nn.Parameter | None] = []
        with torch.no_grad():
            features = self._run(student, self._names[0], rows)[1], self._run(teacher, self._names[1], rows)[1]
        for name, own, other in zip(layers or self._names[0], *features, strict=True):
            if own.shape[:-1] != other.shape[:-1]:
                raise ShrinkError(
                    f"layer {name}: expected features that differ in width alone, "
                    f"got {list(own.shape)} and the teacher's {list(other.shape)}"
                )
            self._maps.append(_map(own.shape[-1], other.shape[-1], rng))

    def parameters(self) -> list[nn.Parameter]:
        """Return the weights of the maps; they are thrown away with the hints."""
        return [weight for weight in self._maps if weight is not None]

    def __call__(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the student's outputs, the teacher's, and how far their features are apart.

        That is the mean square of the difference over the mean square of the teacher's features, averaged over the
        pairs: 1 for features of zero, whatever a layer's scale.
        """
        outputs, own = self._run(self._student, self._names[0], rows)
        with torch.no_grad():
            answers, others = self._run(self._teacher, self._names[1], rows)
        apart = [_distance(*pair) for pair in zip(own, others, self._maps, strict=True)]
        return outputs, answers, torch.stack(apart).mean()

    @staticmethod
    def _run(module: nn.Module, names: list[str], rows: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        with watched(module, names) as seen:
            outputs: torch.Tensor = module(rows)
        if missing := [name for name in names if name not in seen]:
            raise ShrinkError(f"layer {missing[0]}: expected a layer that rows pass through, got one that is not run")
        return outputs, [seen[name] for name in names]


@contextmanager
def watched(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Give a dict that forward passes fill with the named layers' outputs, width last: ``[n, ..., width]``.

    Raises:
        ShrinkError: for a layer that the module lacks.
    """
    layers, seen, handles = dict(module.named_modules()), {}, []
    if unknown := [name for name in names if name not in layers]:
        raise ShrinkError(f"expected names of layers such as {', '.join(hidden_layers(module))}, got {unknown[0]!r}")

    def keep(name: str, layer: nn.Module, outputs: Any) -> None:
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        seen[name] = first.movedim(1, -1) if first.ndim == 4 or isinstance(layer, nn.Conv1d) else first

    try:
        for name in names:
            hook = lambda layer, _, outputs, name=name: keep(name, layer, outputs)  # noqa: E731
            handles.append(layers[name].register_forward_hook(hook))
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def hidden_layers(module: nn.Module) -> list[str]:
    """Return the names of the layers with weights, in order, without the last, whose outputs are the module's."""
    return [name for name, layer in module.named_modules() if isinstance(layer, _WEIGHTED)][:-1]


def _shared(student: nn.Module, teacher: nn.Module) -> list[str]:
    theirs = set(hidden_layers(teacher))
    if not (both := [name for name in hidden_layers(student) if name in theirs]):
        raise ShrinkError("expected a hidden layer of one name in student and teacher, got none; name pairs of layers")
    return both[-1:]


def _pair(name: str) -> tuple[str, str]:
    own, _, other = name.partition("=")
    return own, other or own


def _map(own: int, other: int, rng: np.random.Generator) -> nn.Parameter | None:
    if own == other:
        return None
    return nn.Parameter(torch.from_numpy(rng.standard_normal((other, own)) / np.sqrt(own)).float())


def _distance(own: torch.Tensor, other: torch.Tensor, weight: nn.Parameter | None) -> torch.Tensor:
    mapped = own if weight is None else functional.linear(own, weight)
    return functional.mse_loss(mapped, other) / other.square().mean().clamp_min(_TINY)
