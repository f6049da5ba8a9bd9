"""The benchmark's work on pfl-research's simulated backend with its own PyTorch model and its own local training."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.data.dataset import Dataset
from pfl.model.pytorch import PyTorchModel

from benchmarks.engine_pfl import timed_rounds
from benchmarks.engine_work import LEARNING_RATE, features


class _Linear(torch.nn.Module):
    def __init__(self, parameters: int) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.zeros(parameters))

    def loss(self, example: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return 0.5 * torch.square(self.weights @ example - target).sum()

    def metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {}


class _OneExample(Dataset):
    """One example that is one batch."""

    def __len__(self) -> int:
        return 1

    def iter(self, batch_size: int | None) -> Iterator[Any]:
        yield self.raw_data


def pfl_pytorch(clients: int, parameters: int, rounds: int) -> list[float]:
    """Return the ends of rounds; the first entry is the end of a round that is not counted."""
    torch.set_num_threads(1)
    linear = _Linear(parameters)
    model = PyTorchModel(linear, torch.optim.SGD, torch.optim.SGD(linear.parameters(), 1.0))
    example = torch.from_numpy(features(parameters))
    return timed_rounds(
        FederatedAveraging(),
        model,
        lambda user: _OneExample([example, torch.tensor(float(user))], user_id=str(user)),
        clients,
        rounds,
    )


def torch_step(parameters: int) -> Callable[[Any, Any, float], None]:
    """Return one step with autograd and a fresh optimizer, as the model above does it: its bare loop."""
    linear = _Linear(parameters)

    def step(weights: Any, example: Any, target: float) -> None:
        optimizer = torch.optim.SGD(linear.parameters(), float(LEARNING_RATE))
        optimizer.zero_grad()
        linear.loss(torch.from_numpy(example), torch.tensor(float(target))).backward()
        optimizer.step()

    return step
