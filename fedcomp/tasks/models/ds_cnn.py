"""A network of depthwise separable convolutions over spectrograms, without normalisation.

Shape: Y. Zhang, N. Suda, L. Lai and V. Chandra, *Hello Edge: Keyword Spotting on Microcontrollers* (2017), about its
DS-CNN-L. Start: H. Zhang, Y. Dauphin and T. Ma, *Fixup Initialization: Residual Learning Without Normalization* (2019).
"""

from torch import Tensor, nn
from torch.nn import functional


def ds_cnn(num_classes: int, width: int = 192, blocks: int = 4) -> nn.Module:
    """Return a new network from spectrograms ``[n, 1, frames, bands]`` to logits ``[n, num_classes]``.

    A first convolution over 10 frames and 4 bands halves both; a first separable block halves them again, and
    ``blocks`` more keep the shape, each adding what it finds to what it got (the paper's do not add: without
    normalisation, that is what makes the depth trainable). Mean over places, one linear layer.

    Raises:
        ValueError: if ``width`` or ``blocks`` is less than 1.
    """
    for name, value in {"width": width, "blocks": blocks}.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    layers = [_Separable(width, stride=2), nn.ReLU(), *(_Residual(width) for _ in range(blocks))]
    network = nn.Sequential(
        nn.Conv2d(1, width, (10, 4), stride=2, padding=(4, 1)),
        nn.ReLU(),
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, num_classes),
    )
    _start(network)
    return network


class _Separable(nn.Module):
    """One filter for every channel, then a mixture of channels at every place."""

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(functional.relu(self.depthwise(maps)))
        return mixed


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch = _Separable(width)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.relu(maps + self.branch(maps))


def _start(network: nn.Module) -> None:
    """Keep the scale of activations through the layers, and let every residual branch start at zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    for block in network.modules():
        if isinstance(block, _Residual):
            nn.init.zeros_(block.branch.pointwise.weight)
