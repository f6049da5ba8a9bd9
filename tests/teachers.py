"""A dense teacher of the digits, as a run's model file, and a step that cuts it, for tests of recovery training."""

import copy
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fedcomp.shrink import save_arrays
from fedcomp.shrink.base import Step
from fedcomp.tasks.digits import digits
from fedcomp.training import get_arrays, train_plain


@functools.cache
def dense_arrays():
    """Return the weights of the digits' model after a few epochs over all training rows."""
    task, module = digits(), digits().model(0)
    settings = {"batch_size": 32, "learning_rate": 0.1, "momentum": 0.9, "local_epochs": 15}
    train_plain(module, task.train(), loss=task.loss, rng=np.random.default_rng(0), **settings)
    return get_arrays(module)


def dense_file(folder: Path, **about: str) -> str:
    """Write that model with these texts about it, and return the file's path."""
    path = folder / "dense.safetensors"
    save_arrays(path, dense_arrays(), {"task": "digits", "role": "global", **about})
    return str(path)


@dataclass(frozen=True)
class Halve(Step):
    """Keeps ``share`` of the hidden units of a perceptron of one hidden layer: those with the longest weights."""

    share: float = 0.5
    id = "halve"
    reads = False

    def apply(self, module, material, rng):
        first, activation, last = copy.deepcopy(module)
        lengths = first.weight.norm(dim=1) * last.weight.norm(dim=0)
        count = max(1, round(self.share * len(lengths)))
        kept = torch.argsort(lengths, descending=True, stable=True)[:count].sort().values
        smaller = nn.Sequential(nn.Linear(first.in_features, count), activation, nn.Linear(count, last.out_features))
        values = {"0.weight": first.weight[kept], "0.bias": first.bias[kept]}
        smaller.load_state_dict({**values, "2.weight": last.weight[:, kept], "2.bias": last.bias})
        return smaller.eval()


@dataclass(frozen=True)
class Thin(Step):
    """Sets all but ``density`` of each layer's weights to zero: the smallest ones."""

    density: float = 0.2
    id = "thin"
    reads = False

    def apply(self, module, material, rng):
        thinned = copy.deepcopy(module).eval()
        for parameter in thinned.parameters():
            if parameter.ndim > 1:
                smallest = torch.quantile(parameter.detach().abs(), 1 - self.density)
                parameter.data[parameter.detach().abs() < smallest] = 0.0
        return thinned


@dataclass(frozen=True)
class Peek(Halve):
    """The same, but one that reads rows."""

    id = "peek"
    reads = True
