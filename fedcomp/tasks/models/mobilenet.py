"""A MobileNetV2-like network without normalisation, for small grey or colour images.

Shape: M. Sandler, A. Howard, M. Zhu, A. Zhmoginov and L.-C. Chen, *MobileNetV2: Inverted Residuals and Linear
Bottlenecks* (2018). Start: H. Zhang, Y. Dauphin and T. Ma, *Fixup Initialization: Residual Learning Without
Normalization* (2019).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

_MULTIPLE = 8  # channel counts that int8 kernels like
_HEAD = 320

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2), (6, 64, 3, 2), (6, 96, 2, 1), (6, 160, 2, 2))
"""Stages of the network: how much a block widens, its channels, how many blocks, and the stride of the first."""


def mobilenet(
    channels: int,
    num_classes: int,
    image_size: int = 96,
    width: float = 1.0,
    stages: Sequence[tuple[int, int, int, int]] = STAGES,
) -> nn.Module:
    """Return a new network from images ``[n, channels, h, w]`` to logits ``[n, num_classes]``.

    Images of any size are enlarged to ``image_size`` squared inside of the network, so that rows stay small on disk
    and on the way, and the exported file eats what a user has. Bilinear with a fixed size: of the kinds of
    interpolation, the one that ONNX Runtime and XNNPACK both run, with int8 inputs as well.

    ``width`` multiplies all channel counts, which are then rounded to multiples of 8.

    Raises:
        ValueError: for a width that is not positive, or no stages.
    """
    if not width > 0:
        raise ValueError(f"width must be greater than 0, got {width}")
    if not stages:
        raise ValueError("stages must name at least one stage, got none")
    held = _rounded(16 * width)
    layers: list[nn.Module] = [_Enlarge(image_size), nn.Conv2d(channels, held, 3, stride=2, padding=1), nn.ReLU()]
    for expansion, outputs, blocks, stride in stages:
        for number in range(blocks):
            step = stride if number == 0 else 1
            layers.append(_InvertedResidual(held, _rounded(outputs * width), expansion, step))
            held = _rounded(outputs * width)
    head = _rounded(_HEAD * width)
    layers += [nn.Conv2d(held, head, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head, num_classes)]
    network = nn.Sequential(*layers)
    _start(network)
    return network


class _Enlarge(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        return functional.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)


class _InvertedResidual(nn.Module):
    """Widen, filter every channel apart, narrow; the block's input is added where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        held = inputs * expansion
        self.expand = nn.Conv2d(inputs, held, 1)
        self.depthwise = nn.Conv2d(held, held, 3, stride=stride, padding=1, groups=held)
        self.project = nn.Conv2d(held, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        held = functional.relu(self.depthwise(functional.relu(self.expand(images))))
        narrow: Tensor = self.project(held)
        return images + narrow if self.residual else narrow


def _start(network: nn.Module) -> None:
    """Keep the scale of activations through the layers, and let every residual branch start at zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for block in network.modules():
        if isinstance(block, _InvertedResidual):
            nn.init.kaiming_normal_(block.project.weight, nonlinearity="linear")
            if block.residual:
                nn.init.zeros_(block.project.weight)


def _rounded(channels: float) -> int:
    return max(_MULTIPLE, round(channels / _MULTIPLE) * _MULTIPLE)
