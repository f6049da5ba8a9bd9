"""Small teachers, students and rows that the tests of distillation share."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedcomp.shrink.base import Material
from fedcomp.threads import single_thread


def seeded(make, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()


def perceptron(width: int, seed: int = 0, classes: int = 3) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, classes)), seed)


def sharp(module: nn.Module) -> nn.Module:
    """Make a fresh perceptron sure of its answers, as a trained one is, and none of them much rarer than others."""
    with torch.no_grad(), single_thread():
        for parameter in module.parameters():
            parameter.mul_(3)
        module[-1].bias.sub_(module(torch.from_numpy(vectors(1000, 7))).mean(0))
    return module.eval()


def vectors(count: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def material(teacher: nn.Module | None, inputs: np.ndarray | None = None, targets=None, data="public") -> Material:
    return Material(vectors() if inputs is None else inputs, targets, data, cross_entropy, teacher)


def agreement(module: nn.Module, teacher: nn.Module, rows: np.ndarray | None = None) -> float:
    inputs = torch.from_numpy(vectors(500, 5) if rows is None else rows)
    with torch.no_grad(), single_thread():
        return float((module(inputs).argmax(-1) == teacher(inputs).argmax(-1)).double().mean())
