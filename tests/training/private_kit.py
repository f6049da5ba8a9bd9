"""Small data and models that the tests of private training share."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedcomp.privacy.sampling import PoissonSampler
from fedcomp.tasks.base import Split
from fedcomp.training import Draws
from fedcomp.training.opacus_parts import StepRule


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def seeded(make):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return make()


def linear() -> nn.Module:
    return seeded(lambda: nn.Linear(12, 3))


def network() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 3, 4)),
            nn.Conv2d(1, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(48, 6),
            nn.Tanh(),
            nn.Linear(6, 3),
        )
    )


def perceptron() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)))


def frozen_front() -> nn.Module:
    """A linear head on features that do not learn."""
    module = seeded(lambda: nn.Sequential(nn.Sequential(nn.Linear(12, 7), nn.Tanh()), nn.Flatten(), nn.Linear(7, 3)))
    module[0].requires_grad_(False)
    return module


def without_bias() -> nn.Module:
    return seeded(lambda: nn.Linear(12, 3, bias=False))


class Tied(nn.Module):
    """Two layers that share a weight: Opacus' ghost clipping refuses it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.second.weight = self.first.weight

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.last(self.second(self.first(rows).tanh()))


def rows(count: int = 20, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    inputs = (2 * rng.standard_normal((count, 12))).astype(np.float32)
    return Split(inputs, rng.integers(0, 3, count), inputs)


def rule(max_grad_norm: float = 0.5, noise_multiplier: float = 0.0, **changes) -> StepRule:
    values = {"expected_batch_size": 10.0, "learning_rate": 1.0, "momentum": 0.0} | changes
    return StepRule(max_grad_norm, noise_multiplier, noise_rng=np.random.default_rng(1), **values)


def everyone(split: Split, steps: int = 1) -> PoissonSampler:
    return PoissonSampler(population=len(split), sampling_probability=1.0, steps=steps)


def draws(seed: int = 0) -> Draws:
    batches, noise = np.random.default_rng(seed).spawn(2)
    return Draws(batches=batches, noise=noise)
