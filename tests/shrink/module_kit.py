"""Small modules of every kind that steps make smaller, and rows for them, which the tests of steps share."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedcomp.shrink.base import Material
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.tasks.models.ds_cnn import ds_cnn
from fedcomp.tasks.models.mobilenet import mobilenet
from fedcomp.tasks.models.resnet import resnet
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from fedcomp.threads import single_thread

_STAGES = ((1, 8, 1, 1), (4, 16, 2, 2))


class LastState(nn.Module):
    """Two unidirectional LSTM layers whose last hidden states go into one linear layer."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, rows):
        _, (hidden, _) = self.lstm(rows)
        return self.head(hidden.transpose(0, 1).flatten(1))


MAKERS = {
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)),
        (8,),
    ),
    "resnet": (lambda: resnet(1, 3, widths=(16, 32), blocks=2), (1, 8, 8)),
    "separable": (lambda: ds_cnn(3, width=16, blocks=2), (1, 12, 8)),
    "mobile": (lambda: mobilenet(1, 3, image_size=16, stages=_STAGES), (1, 8, 8)),
    "series": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(16, 24, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 4, 3),
        ),
        (2, 10),
    ),
    "normalised": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 16, 16),
            nn.ReLU(),
            nn.Linear(16, 3),
        ),
        (1, 8, 8),
    ),
    "gru": (lambda: conv_gru(bands=6, num_classes=3, filters=4, hidden=16), (1, 10, 6)),
    "lstm": (LastState, (7, 5)),
    "transformer": (
        lambda: Transformer(
            TransformerShape(20, 5, 4, pad=0, width=16, heads=4, hidden=32, encoder_layers=2, decoder_layers=1)
        ),
        (9,),
    ),
}
"""What makes each module, and the shape of its rows."""
TOKENS = {"transformer": 20}


def made(kind: str, seed: int = 0) -> nn.Module:
    """The module, with weights as if trained: none of those that start at zero are."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module = MAKERS[kind][0]()
        for parameter in module.parameters():
            with torch.no_grad():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def rows(kind: str, count: int = 16, seed: int = 0) -> np.ndarray:
    rng, shape = np.random.default_rng(seed), (count, *MAKERS[kind][1])
    return rng.integers(1, TOKENS[kind], shape) if kind in TOKENS else rng.standard_normal(shape).astype(np.float32)


def material(kind: str, count: int = 16, seed: int = 0, data="public") -> Material:
    rng = np.random.default_rng(seed + 1)
    targets = rng.integers(0, 20, (count, 4)) if kind in TOKENS else rng.integers(0, 3, count)
    return Material(rows(kind, count, seed), targets, data, loss)


def loss(outputs, targets):
    flat = functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
    return flat.reshape(len(outputs), -1).mean(1)


def answers(module: nn.Module, inputs: np.ndarray) -> np.ndarray:
    with torch.no_grad(), single_thread():
        return module(torch.from_numpy(inputs)).numpy()


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
