"""The task of ``benchmarks.bytes_to_accuracy``: Fashion-MNIST and a CNN of 106,122 parameters, quick to train."""

from torch import nn

from fedcomp.tasks import Task
from fedcomp.tasks.fashion_mnist import FashionMnist


class SmallCnn(FashionMnist):
    """Fashion-MNIST images with two strided convolutions and a hidden layer."""

    def network(self) -> nn.Module:
        """Return the model that is federated."""
        return nn.Sequential(
            nn.Conv2d(1, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )


def cnn() -> Task:
    """Return the task; the data is fetched into the user's cache if it is not on this machine."""
    return SmallCnn("cnn", download=True)
