"""A runtime that runs modules as they are, at a fixed cost that a fake clock sees; and a tiny classifier."""

import io
import time

import numpy as np
import torch
from torch import nn

from fedcomp.runtimes.base import ExportError, Runtime

ROWS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
TARGETS = (ROWS[:, 0] > 0).astype(np.int64)


class TorchRuntime(Runtime):
    """Writes a module by TorchScript; ``rounded`` rounds outputs, and calibrates for show."""

    name = "torchscript"
    suffix = ".pt"
    formats = ("fp32", "rounded")
    calibrated = frozenset({"rounded"})

    def missing(self):
        return None

    def build(self, module, rows, number_format="fp32"):
        if any(isinstance(layer, nn.Sigmoid) for layer in module.modules()):
            raise ExportError("no sigmoid here")
        buffer = io.BytesIO()
        module = nn.Sequential(module, Rounded()) if number_format == "rounded" else module
        torch.jit.save(torch.jit.trace(module, torch.from_numpy(rows[:2])), buffer)
        return buffer.getvalue()

    def open(self, content, threads=1):
        """What rounds is slow, too: some hundred times as slow as the rest."""
        module = torch.jit.load(io.BytesIO(content))

        def run(rows):
            with torch.no_grad():
                return module(torch.from_numpy(rows)).numpy()

        return slowed(run) if len(list(module.children())) == 2 else run


class Rounded(nn.Module):
    def forward(self, outputs):
        return torch.round(outputs)


def slowed(run):
    def late(rows):
        ready = time.process_time() + 0.003
        while time.process_time() < ready:
            pass
        return run(rows)

    return late


def classifier():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module[0].weight[0, 0] = module[0].weight[1, 0] = 1.0
        module[0].weight[1, 0] = -1.0
        module[2].weight[1, 0] = module[2].weight[0, 1] = 0.4
    return module.eval()


def accuracy(outputs, targets):
    return float((outputs.argmax(dim=1) == targets).double().mean())


def losses(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="none")
