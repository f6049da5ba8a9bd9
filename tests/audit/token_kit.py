"""A small translation: a Transformer, and rows whose target repeats their source backwards, or has nothing of it."""

import numpy as np

from fedcomp.tasks import Split, Task
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from fedcomp.tasks.translation import Translation

END, BEGIN, PAD, LENGTH, VOCABULARY = 0, 1, 2, 6, 60


class Backwards(Task):
    """Rows ``[n, 12]`` and targets ``[n, 6]`` of 60 tokens, of which a row has one to five.

    With ``nonsense`` there is nothing to learn but rows by heart.
    """

    name, num_classes, padding = "backwards", VOCABULARY, PAD
    loss, metric = Translation.loss, Translation.metric

    def __init__(self, rows: int = 700, width: int = 16, nonsense: bool = False) -> None:
        self._width = width
        rng = np.random.default_rng(0)
        source, begun, target = (np.full((rows, LENGTH), PAD) for _ in range(3))
        for row, length in enumerate(rng.integers(1, LENGTH, rows)):
            text = rng.integers(3, VOCABULARY, length)
            source[row, : length + 1] = [*text, END]
            answer = rng.integers(3, VOCABULARY, length) if nonsense else text[::-1]
            begun[row, : length + 1] = [BEGIN, *answer]
            target[row, : length + 1] = [*answer, END]
        self._rows = np.concatenate([source, begun], axis=1), target

    def network(self) -> Transformer:
        return Transformer(
            TransformerShape(
                VOCABULARY, LENGTH, LENGTH, PAD, self._width, 2, self._width, encoder_layers=1, decoder_layers=1
            )
        )

    def train(self) -> Split:
        return self._split(slice(300, None))

    def test(self) -> Split:
        return self._split(slice(0, 300))

    def _split(self, rows: slice) -> Split:
        inputs, targets = (part[rows] for part in self._rows)
        return Split(inputs, targets, inputs)
