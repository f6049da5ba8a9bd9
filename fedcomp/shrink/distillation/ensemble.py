"""Many client models as one teacher (FedDF), and which client models a server may use at all.

Lin, Kong, Stich and Jaggi, *Ensemble distillation for robust model fusion in federated learning* (2020): the student
learns on unlabelled public rows what client models answer on average, so models that averaged weights would spoil, or
models of different shapes, can be fused.

A *client model* is what one client's training of a round gave, and whose it is depends on the privacy mode:

===============  ========================================================================================
``none``         global model plus decoded update. The server has it, and nothing is claimed of it.
``local``        the same, but noised on the device: released state that the client's own ledger has paid
                 for, so that whatever is computed from it is post-processing.
``central``      an update that the server is trusted with until it is summed and noised. It is released
                 nowhere: a student of it would be a release that no ledger has. Refused.
``distributed``  the server has sums alone: there is no client model. Refused.
===============  ========================================================================================
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from fedcomp.arrays import Array
from fedcomp.errors import ConfigError

_USABLE = ("none", "local")


class EnsembleTeacher(nn.Module):
    """The mean of several models' logits, each with the same weight; the models may be of different shapes.

    Every model takes rows ``[n, ...]`` and gives logits of one shape. The models are copied, in eval mode, and frozen.

    Raises:
        ConfigError: under a mode whose client models may not be used, saying why.
        ValueError: for no models, or in ``forward`` for logits of different shapes.
    """

    def __init__(self, models: Sequence[nn.Module], mode: str) -> None:
        super().__init__()
        admit_client_models(mode)
        if not models:
            raise ValueError("expected at least 1 client model, got none")
        self.models = nn.ModuleList(copy.deepcopy(model) for model in models).eval().requires_grad_(False)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the mean of the logits, in the shape of each."""
        logits = [model(rows) for model in self.models]
        if len(shapes := {tuple(answer.shape) for answer in logits}) > 1:
            raise ValueError(f"expected logits of one shape from all client models, got {sorted(shapes)}")
        return torch.stack(logits).mean(dim=0)


def client_models(model: nn.Module, updates: Sequence[Mapping[str, Array]]) -> list[nn.Module]:
    """Return a copy of the global ``model`` for each decoded update, with the update added, in eval mode.

    Updates hold arrays by the names of ``named_parameters`` and ``named_buffers``; what they do not name stays.

    Raises:
        ValueError: for a name that the model lacks, or an array of another shape.
    """
    return [_moved(model, update) for update in updates]


def admit_client_models(mode: str) -> None:
    """Refuse a privacy mode under which models of single clients are no released state; see this file's table.

    Raises:
        ConfigError: naming the mode and why.
    """
    if mode not in _USABLE:
        why = "they are released nowhere, and no ledger has what is computed from them"
        problem = f"privacy.mode: expected {' or '.join(_USABLE)} to learn from client models: {why}; got {mode!r}"
        raise ConfigError([problem])


def _moved(model: nn.Module, update: Mapping[str, Array]) -> nn.Module:
    moved = copy.deepcopy(model).eval()
    state = dict(moved.named_parameters()) | dict(moved.named_buffers())
    for name, array in update.items():
        if name not in state or tuple(state[name].shape) != array.shape:
            expected = f"shape {list(state[name].shape)}" if name in state else f"one of {', '.join(state)}"
            raise ValueError(f"update {name!r}: expected {expected}, got shape {list(array.shape)}")
    with torch.no_grad():
        for name, array in update.items():
            state[name].add_(torch.from_numpy(array))
    return moved
