"""Masks with a pattern: a few of every few weights, or whole blocks, become zero; layers keep their shapes.

What they make smaller is the file, after entropy coding, and what hardware with such patterns multiplies. On a CPU
nothing gets faster: PyTorch's semi-structured kernels are for GPUs alone.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.shrink.pruning.weights import masked_copy, prunable


@dataclass(frozen=True)
class NofM(Step):
    """Keeps the ``n`` largest of every ``m`` weights in a row; 2 of 4 is what GPUs have kernels for.

    A. Mishra et al., *Accelerating Sparse Deep Neural Networks* (2021). A row is what one output reads, channel after
    channel at each place of a convolution's kernel. Layers whose inputs are no multiple of ``m`` keep all they have.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "n-of-m"
    reads = False
    n: int = 2
    m: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.n < self.m:
            raise ValueError(f"n must be in 1..m - 1, with m at least 2, got n={self.n} and m={self.m}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with zeros; see ``Step.apply``.

        Raises:
            ShrinkError: if no layer's inputs are a multiple of ``m``.
        """
        masks = {
            name: self._mask(weight.detach().abs())
            for name, weight in prunable(module)
            if weight.shape[1] % self.m == 0
        }
        if not masks:
            raise ShrinkError(f"n-of-m: expected a layer whose inputs are a multiple of {self.m}, got none")
        return masked_copy(module, masks)

    def _mask(self, sizes: Tensor) -> Tensor:
        runs = sizes.movedim(1, -1)  # channels last: what kernels read in a row
        order = runs.reshape(-1, self.m).argsort(dim=1, descending=True, stable=True)[:, : self.n]
        mask = torch.zeros(order.shape[0], self.m, dtype=torch.bool).scatter(1, order, True)
        return mask.reshape(runs.shape).movedim(-1, 1)


@dataclass(frozen=True)
class Blocks(Step):
    """Keeps the share ``density`` of blocks of ``height`` outputs and ``width`` inputs, those of the largest L2 norm.

    S. Narang, E. Undersander and G. Diamos, *Block-Sparse Recurrent Neural Networks* (2017). A block that sticks out of
    its tensor counts by what is inside; at least one stays in each tensor.

    Raises:
        ValueError: for an option out of range, naming it.
    """

    id = "blocks"
    reads = False
    density: float = 0.3
    height: int = 4
    width: int = 4

    def __post_init__(self) -> None:
        if not 0 < self.density < 1:
            raise ValueError(f"density must be in (0, 1), got {self.density}")
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return a copy with zeros; see ``Step.apply``.

        Raises:
            ShrinkError: for a model without layers that have weights.
        """
        return masked_copy(module, {name: self._mask(weight.detach()) for name, weight in prunable(module)})

    def _mask(self, weight: Tensor) -> Tensor:
        flat = weight.flatten(1)
        beyond = (0, -flat.shape[1] % self.width, 0, -flat.shape[0] % self.height)
        padded = functional.pad(flat.square(), beyond)
        blocks = padded.reshape(len(padded) // self.height, self.height, -1, self.width).sum(dim=(1, 3))
        kept = torch.zeros(blocks.numel(), dtype=torch.bool)
        kept[blocks.flatten().argsort(descending=True, stable=True)[: max(1, round(self.density * len(kept)))]] = True
        whole = kept.reshape(blocks.shape).repeat_interleave(self.height, 0).repeat_interleave(self.width, 1)
        return whole[: flat.shape[0], : flat.shape[1]].reshape(weight.shape)
