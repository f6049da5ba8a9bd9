"""Structured pruning with a ratio for each layer: those whose units matter least lose the most of them."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.pruning.allotment import allot, work_of
from fedcomp.shrink.pruning.channels import channel_groups
from fedcomp.shrink.pruning.choice import check_options, choose
from fedcomp.shrink.pruning.cut import cut, example_of
from fedcomp.shrink.pruning.groups import Group
from fedcomp.shrink.pruning.heads import attention_heads, hidden_units
from fedcomp.shrink.pruning.scores import norms
from fedcomp.shrink.pruning.sensitivity import sensitivities


@dataclass(frozen=True)
class ByLayer(Step):
    """Cuts to the multiply-adds that the share ``ratio`` less of every layer's units would leave, layer by layer.

    How much each layer loses is decided by the material's rows (see ``sensitivities`` and ``allot``), which of its
    units by their weights' L2 norm. ``round_to``: of channels and hidden units, a multiple of it stays; ``padding`` is
    the token that fills up sequences.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    reads = True
    ratio: float = 0.5
    round_to: int = 8
    padding: int = 0

    def __post_init__(self) -> None:
        check_options(self.ratio, self.round_to)

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with narrower layers; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without units to lose, or that cannot be followed, and as ``sensitivities``.
        """
        example = example_of(material.inputs.shape[1:], material.inputs.dtype)
        groups, multiples = self._groups(module, example)
        if not groups:
            raise ShrinkError(f"{self.id}: expected layers with units to lose, got a {type(module).__name__} without")
        scores = norms(module, groups)
        work = work_of(module, groups, example)
        even = [
            len(choose([group], [score], self.ratio, "layer", multiple)[0])
            for group, score, multiple in zip(groups, scores, multiples, strict=True)
        ]
        damage = sensitivities(module, groups, scores, material, self.padding, rng)
        left = allot(groups, damage, work, even, multiples)
        kept = [group.largest(score, count) for group, score, count in zip(groups, scores, left, strict=True)]
        return cut(module, groups, kept, example)

    @abstractmethod
    def _groups(self, module: nn.Module, example: Tensor) -> tuple[Sequence[Group], list[int]]:
        """Return the groups, and of each the number that what stays is a multiple of."""


@dataclass(frozen=True)
class ChannelsByLayer(ByLayer):
    """``ByLayer`` for convolutions and linear layers; see ``Channels``."""

    id = "channels-by-layer"

    def _groups(self, module: nn.Module, example: Tensor) -> tuple[Sequence[Group], list[int]]:
        groups = channel_groups(module, example)
        return groups, [self.round_to] * len(groups)


@dataclass(frozen=True)
class HeadsByLayer(ByLayer):
    """``ByLayer`` for Transformers: heads of each attention, and hidden units; see ``Heads``."""

    id = "heads-by-layer"

    def _groups(self, module: nn.Module, example: Tensor) -> tuple[Sequence[Group], list[int]]:
        heads = attention_heads(module)
        hidden = list(hidden_units(module, example)) if heads else []
        return [*heads, *hidden], [1] * len(heads) + [self.round_to] * len(hidden)
