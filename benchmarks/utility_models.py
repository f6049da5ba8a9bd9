"""The end-to-end CNN of ``benchmarks.private_cnn``.

Papernot et al., *Tempered Sigmoid Activations for Deep Learning with Differential Privacy* (2021), as F. Tramer and
D. Boneh, *Differentially Private Learning Needs Better Features* (2021) train it: 26,010 parameters, tanh throughout.
"""

from torch import nn

from fedcomp.tasks import Task
from fedcomp.tasks.fashion_mnist import FashionMnist


class TanhCnn(FashionMnist):
    """Fashion-MNIST's images with a CNN whose activations are bounded, so that gradients are seldom long."""

    def __init__(self) -> None:
        super().__init__("cnn", download=True)
        self.name = "fashion-mnist-tanh-cnn"

    def network(self) -> nn.Module:
        """Return the model that is federated."""
        return nn.Sequential(
            nn.Conv2d(1, 16, 8, stride=2, padding=2),
            nn.Tanh(),
            nn.MaxPool2d(2, stride=1),
            nn.Conv2d(16, 32, 4, stride=2),
            nn.Tanh(),
            nn.MaxPool2d(2, stride=1),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 32),
            nn.Tanh(),
            nn.Linear(32, self.num_classes),
        )


def tanh_cnn() -> Task:
    """Return the task."""
    return TanhCnn()
