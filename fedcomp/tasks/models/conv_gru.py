"""A convolution and a bidirectional GRU over spectrograms, without normalisation.

Gates: K. Cho, B. van Merrienboer, C. Gulcehre, D. Bahdanau, F. Bougares, H. Schwenk and Y. Bengio, *Learning Phrase
Representations using RNN Encoder-Decoder for Statistical Machine Translation* (2014).
"""

from torch import Tensor, nn
from torch.nn import functional


def conv_gru(bands: int, num_classes: int, filters: int = 32, hidden: int = 192, layers: int = 2) -> nn.Module:
    """Return a new network from spectrograms ``[n, 1, frames, bands]`` to logits ``[n, num_classes]``.

    One convolution halves frames and bands; a GRU of ``layers`` reads the frames both ways; the mean of its outputs
    over frames goes into one linear layer.

    Not for modes that protect examples: ``nn.GRU`` hides its steps from Opacus, and a plan refuses it by name. Its
    layers are what exports plainly, which Opacus' own recurrent layers do not.

    Raises:
        ValueError: if a size is less than 1.
    """
    sizes = {"bands": bands, "num_classes": num_classes, "filters": filters, "hidden": hidden, "layers": layers}
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    return _ConvGru(bands, num_classes, filters, hidden, layers)


class _ConvGru(nn.Module):
    def __init__(self, bands: int, num_classes: int, filters: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, filters, 5, stride=2, padding=2)
        width = filters * ((bands + 1) // 2)
        self.gru = nn.GRU(width, hidden, num_layers=layers, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * hidden, num_classes)
        nn.init.kaiming_normal_(self.convolution.weight, nonlinearity="relu")

    def forward(self, spectrograms: Tensor) -> Tensor:
        maps = functional.relu(self.convolution(spectrograms))
        frames = maps.transpose(1, 2).flatten(2)  # [n, frames / 2, filters * bands / 2]
        outputs, _ = self.gru(frames)
        logits: Tensor = self.head(outputs.mean(dim=1))
        return logits
