"""Weights that a step has set to zero, and that stay zero while what is left is trained."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.arrays import Array, Arrays

Masks = Mapping[str, NDArray[np.bool_]]
"""For the arrays that have any, by name, where a weight is left."""


def masks_of(model: Arrays) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of a model's weights: of arrays of several axes, since biases always learn.

    An array of zeros alone was not thinned out but starts so, and has none.
    """
    return {name: array != 0 for name, array in model.items() if array.ndim > 1 and array.any() and not array.all()}


def masked(arrays: Arrays, masks: Masks) -> dict[str, Array]:
    """Return the arrays with zeros where a mask has none."""
    return {
        name: np.where(masks[name], array, array.dtype.type(0)) if name in masks else array
        for name, array in arrays.items()
    }


def keep_zeros(module: nn.Module, masks: Masks) -> nn.Module:
    """Return ``module`` itself, which from now on sets those weights back to zero before each forward pass in training.

    That is projected gradient descent: what a step adds to a zero, its noise included, is never used. What the last
    step has added is still there, to be taken out of the update by ``masked``.
    """
    if masks:
        module.register_forward_pre_hook(_PutBack(masks))
    return module


class _PutBack:
    def __init__(self, masks: Masks) -> None:
        self._masks = {name: torch.from_numpy(np.array(mask)) for name, mask in masks.items()}

    def __deepcopy__(self, memo: dict[int, Any]) -> "_PutBack":
        return self  # nothing changes it

    def __call__(self, module: nn.Module, _: Any) -> None:
        if not module.training:
            return
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name in self._masks:
                    parameter.mul_(self._masks[name])
