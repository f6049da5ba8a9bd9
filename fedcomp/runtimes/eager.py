"""PyTorch itself, without any export: what a second ratio is taken to."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.runtimes.base import Program


def eager_program(module: nn.Module) -> Program:
    """Return ``module`` as a program over arrays: called op by op, without gradients, on torch's threads.

    It is the caller's module, which must be in eval mode, not a copy. There is no file of it: devices do not get one,
    and a ratio to it says what an engine gains, not what compression does.

    Raises:
        ValueError: if the module is in training mode.
    """
    if module.training:
        raise ValueError("module must be in eval mode, got one in training mode")

    def program(rows: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            answers: NDArray[Any] = module(torch.from_numpy(np.ascontiguousarray(rows))).numpy()
        return answers

    return program
