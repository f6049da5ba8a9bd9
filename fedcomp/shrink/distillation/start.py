"""A student that starts from what it has in common with its teacher, not from nothing."""

import copy

import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError


def started_from(student: nn.Module, teacher: nn.Module) -> nn.Module:
    """Return a copy of ``student`` with the teacher's values in every array of the same name and shape.

    That is what a student of fewer layers wants: its first layers are the teacher's (V. Sanh, L. Debut, J. Chaumond and
    T. Wolf, *DistilBERT*, 2019, start from every second one). A narrower one has nothing in common with its teacher.

    Raises:
        ShrinkError: if no array of weights fits.
    """
    started, given = copy.deepcopy(student), teacher.state_dict()
    with torch.no_grad():
        fitting = [
            (own, given[name])
            for name, own in started.state_dict().items()
            if name in given and given[name].shape == own.shape
        ]
        if not any(own.ndim > 1 for own, _ in fitting):
            raise ShrinkError("the student has no array of weights of the same name and shape as its teacher")
        for own, value in fitting:
            own.copy_(value)
    return started
