"""A small residual network for images, without normalisation.

K. He, X. Zhang, S. Ren and J. Sun, *Deep Residual Learning for Image Recognition* (2016), started as in H. Zhang,
Y. Dauphin and T. Ma, *Fixup Initialization: Residual Learning Without Normalization* (2019): the last layers, of every
branch and of all, are zero and the others are scaled down with depth, so that the network begins as its shortcuts.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional


def resnet(
    channels: int, num_classes: int, widths: Sequence[int] = (32, 64, 128), blocks: int = 2, stem_stride: int = 1
) -> nn.Module:
    """Return a new network from images ``[n, channels, h, w]`` to logits ``[n, num_classes]``.

    ``widths`` are the channels of the stages, each of ``blocks`` blocks of two 3x3 convolutions; every stage but the
    first halves height and width, and so does the stem with ``stem_stride`` 2.

    Raises:
        ValueError: without stages or blocks.
    """
    if not widths or blocks < 1:
        raise ValueError(f"expected at least one stage and one block, got widths {list(widths)} and {blocks} blocks")
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, stride=stem_stride, padding=1), nn.ReLU()]
    held = widths[0]
    for stage, width in enumerate(widths):
        for block in range(blocks):
            layers.append(_Block(held, width, 2 if stage and not block else 1))
            held = width
    head = nn.Linear(held, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), head]
    network = nn.Sequential(*layers)
    _start(network, len(widths) * blocks)
    return network


class _Block(nn.Module):
    """Two convolutions beside a shortcut, which is a 1x1 convolution where shapes differ."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride) if changes else None

    def forward(self, images: Tensor) -> Tensor:
        branch = self.second(functional.relu(self.first(images)))
        return functional.relu(branch + (images if self.shortcut is None else self.shortcut(images)))


def _start(network: nn.Module, num_blocks: int) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for block in network.modules():
        if isinstance(block, _Block):
            block.first.weight.data /= math.sqrt(num_blocks)  # Fixup: L^(-1/(2m-2)) for m = 2 layers a branch
            nn.init.zeros_(block.second.weight)
            if block.shortcut is not None:
                nn.init.kaiming_normal_(block.shortcut.weight, nonlinearity="linear")
