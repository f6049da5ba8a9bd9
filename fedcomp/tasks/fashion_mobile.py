"""Fashion-MNIST for mobile and edge devices: a residual CNN at 28 pixels, and a MobileNetV2-like one at 96."""

from typing import Literal

from torch import nn

from fedcomp.tasks.fashion_mnist import FashionMnist
from fedcomp.tasks.models.mobilenet import mobilenet
from fedcomp.tasks.models.resnet import resnet

_SLIM_STAGES = ((1, 16, 1, 1), (4, 24, 1, 2), (4, 32, 1, 2), (4, 64, 2, 2), (4, 96, 1, 1), (4, 160, 1, 2))


class FashionMobile(FashionMnist):
    """The images of ``FashionMnist`` with models that are large enough to be worth shrinking.

    ``model="resnet"`` sees 28 pixels. ``model="mobilenet"`` enlarges the same 28 pixels to 96 inside of the network,
    bilinearly: it is a network of the size that phones run, on images that hold no more than 28 pixels did.

    Raises:
        DataError: as ``FashionMnist``.
    """

    def __init__(self, model: Literal["resnet", "mobilenet"], download: bool = False) -> None:
        super().__init__("cnn", download)
        self.name = f"fashion-mnist-{model}"
        self._model = model

    def network(self) -> nn.Module:
        """Return the model that is federated."""
        if self._model == "resnet":
            return resnet(1, self.num_classes, widths=(32, 64, 128), stem_stride=2)
        return mobilenet(1, self.num_classes)

    def student_network(self) -> nn.Module:
        """Return a narrower and shallower model of the same kind."""
        if self._model == "resnet":
            return resnet(1, self.num_classes, widths=(16, 32, 64), blocks=1, stem_stride=2)
        return mobilenet(1, self.num_classes, width=0.5, stages=_SLIM_STAGES)
