"""A convolutional network over time, for signals of sensors, without normalisation.

Start: H. Zhang, Y. Dauphin and T. Ma, *Fixup Initialization: Residual Learning Without Normalization* (2019), whose
last layer is zero.
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

_KERNEL = 5


def conv1d(channels: int, num_classes: int, widths: Sequence[int] = (64, 128, 128)) -> nn.Module:
    """Return a new network from signals ``[n, channels, samples]`` to logits ``[n, num_classes]``.

    ``widths`` are the channels of its convolutions over 5 samples, each of which but the first halves the rate. The
    mean over time goes into one linear layer.

    Raises:
        ValueError: without convolutions, or if a size is less than 1.
    """
    if not widths or min(channels, num_classes, *widths) < 1:
        raise ValueError(
            f"expected at least one convolution and sizes of at least 1, got {channels} channels, "
            f"widths {list(widths)} and {num_classes} classes"
        )
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise([channels, *widths])):
        layer = nn.Conv1d(before, after, _KERNEL, stride=2 if number else 1, padding=_KERNEL // 2)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        layers += [layer, nn.ReLU()]
    head = nn.Linear(widths[-1], num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), head)
