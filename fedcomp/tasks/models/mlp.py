"""A perceptron with hidden layers, for rows of numbers."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def mlp(inputs: int, num_classes: int, widths: Sequence[int] = (512, 512, 256)) -> nn.Module:
    """Return a new network from rows ``[n, inputs]`` to logits ``[n, num_classes]``, with ReLU between its layers.

    Weights start as in K. He, X. Zhang, S. Ren and J. Sun, *Delving Deep into Rectifiers* (2015), but the last layer's
    are zero: before the first step all classes are as likely, and no example has a large gradient.

    Raises:
        ValueError: if a size is less than 1.
    """
    sizes = [inputs, *widths]
    if min(*sizes, num_classes) < 1:
        raise ValueError(f"sizes must be at least 1, got {inputs} inputs, widths {list(widths)}, {num_classes} classes")
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layer = nn.Linear(before, after)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    head = nn.Linear(sizes[-1], num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, head)
