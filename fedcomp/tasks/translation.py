"""Translation: verses of the Bible from English to Spanish, or texts of programs from English to German.

The vocabulary is learnt on texts that the task sets apart for it: no client holds them, no test has them, and so it
tells nothing about anybody's rows. They are chapters (or program texts) of the same kind, drawn once for all runs.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedcomp.rng import stream
from fedcomp.tasks.base import Split, Task
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from fedcomp.tasks.sources.bible import bible_pairs
from fedcomp.tasks.sources.program_texts import program_pairs
from fedcomp.tasks.sources.subwords import Mark, Subwords, learn_subwords, padded
from fedcomp.tasks.sources.text_pairs import TextPair

_TRAIN, _TEST, _VOCABULARY = range(3)


@dataclass(frozen=True)
class _Text:
    """A body of texts, and the sizes that fit it; ``length`` is the most subwords a text may have, its end included."""

    name: str
    pairs: Callable[[bool], tuple[TextPair, ...]]
    length: int
    vocabulary: int
    width: int
    test_share: float
    vocabulary_share: float = 0.08


_TEXTS = {
    "bible": _Text("translation", bible_pairs, length=48, vocabulary=4000, width=256, test_share=0.03),
    "programs": _Text("translation-short", program_pairs, length=16, vocabulary=3000, width=192, test_share=0.05),
}


class Translation(Task):
    """Rows of a source text and, behind a first token, its translation; targets are the translation and its end.

    ``inputs [n, 2 * length]`` and ``targets [n, length]`` are numbers of subwords, padded with ``Mark.PAD``; pairs with
    a text that is longer are left out. With ``"bible"`` (48 subwords) whole chapters are held out for the test and the
    natural clients are the 66 books; with ``"programs"`` (16 subwords) source texts are, and clients are 35 catalogues.

    The model is a Transformer of 3 + 3 layers, and the student's decoder has one.

    Raises:
        DataError: if the texts are nowhere on this machine (and, with ``download``, cannot be fetched either), or a
            package that reads them is missing; with what brings it.
    """

    padding = int(Mark.PAD)

    def __init__(self, text: Literal["bible", "programs"], download: bool = False) -> None:
        self._text = _TEXTS[text]
        self.name = self._text.name
        self._pairs = self._text.pairs(download)
        self.num_classes = self.subwords.size

    @cached_property
    def subwords(self) -> Subwords:
        """The vocabulary of both languages."""
        public = [pair for pair, part in zip(self._pairs, self._parts, strict=True) if part == _VOCABULARY]
        return learn_subwords([text for pair in public for text in (pair.source, pair.target)], self._text.vocabulary)

    def network(self) -> nn.Module:
        """Return a Transformer of 3 + 3 layers."""
        return Transformer(self._shape(3))

    def student_network(self) -> nn.Module:
        """Return a Transformer of 3 + 1 layers: what decoding spends its time in is the decoder."""
        return Transformer(self._shape(1))

    def train(self) -> Split:
        """Return the training rows."""
        return self._split(_TRAIN)

    def test(self) -> Split:
        """Return the test rows, of chapters (or source texts) that no training row is from."""
        return self._split(_TEST)

    def groups(self) -> NDArray[np.int64]:
        """Return the book, or the catalogue, of each training row, numbered in sorted order of their names."""
        holders = np.array([pair.holder for pair in self._pairs])[self._rows[2]]
        numbers = np.unique(holders, return_inverse=True)[1]
        return np.asarray(numbers[self._part_of_rows == _TRAIN], dtype=np.int64)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return each example's mean cross-entropy ``[n]`` of its tokens, padding aside."""
        losses = functional.cross_entropy(
            outputs.transpose(1, 2), targets, ignore_index=int(Mark.PAD), reduction="none"
        )
        return losses.sum(dim=1) / (targets != Mark.PAD).sum(dim=1).clamp(min=1)

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the share of tokens, padding aside, that are the likeliest after the right ones before them."""
        meant = targets != Mark.PAD
        right = (outputs.argmax(dim=2) == targets) & meant
        return float(right.sum()) / max(int(meant.sum()), 1)

    @cached_property
    def _parts(self) -> NDArray[np.int64]:
        shares = self._text.test_share, self._text.vocabulary_share
        return draw_parts(self._pairs, *shares, stream(0, self.name, "split"))

    @cached_property
    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Inputs, targets, and the number of the pair of each row; of all pairs that are short enough."""
        length = self._text.length
        sources = self.subwords.encode([pair.source for pair in self._pairs])
        targets = self.subwords.encode([pair.target for pair in self._pairs])
        kept = [row for row in range(len(sources)) if max(len(sources[row]), len(targets[row])) < length]
        ended = padded([[*targets[row], Mark.END] for row in kept], length)
        begun = padded([[Mark.BEGIN, *targets[row]] for row in kept], length)
        source = padded([[*sources[row], Mark.END] for row in kept], length)
        return np.concatenate([source, begun], axis=1), ended, np.array(kept, dtype=np.int64)

    @property
    def _part_of_rows(self) -> NDArray[np.int64]:
        return self._parts[self._rows[2]]

    def _split(self, part: int) -> Split:
        inputs, targets, _ = self._rows
        chosen = self._part_of_rows == part
        taken = inputs[chosen]
        return Split(taken, targets[chosen], taken)

    def _shape(self, decoder_layers: int) -> TransformerShape:
        text = self._text
        return TransformerShape(
            vocabulary=self.num_classes,
            source_length=text.length,
            target_length=text.length,
            pad=Mark.PAD,
            width=text.width,
            heads=text.width // 32,
            hidden=4 * text.width,
            decoder_layers=decoder_layers,
        )


def draw_parts(
    pairs: Sequence[TextPair], test_share: float, vocabulary_share: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return for each pair 0 (training), 1 (test) or 2 (vocabulary), the same for all pairs of a unit.

    Shares are of units. The only unit of a holder is never drawn, so that every holder keeps some training pairs.
    """
    of_holders = Counter(holder for holder, _ in {(pair.holder, pair.unit) for pair in pairs})
    needed = {pair.unit for pair in pairs if of_holders[pair.holder] == 1}
    units = sorted({pair.unit for pair in pairs})
    drawn = [units[number] for number in rng.permutation(len(units)) if units[number] not in needed]
    tests = round(test_share * len(units))
    part_of = dict.fromkeys(drawn[:tests], _TEST)
    part_of |= dict.fromkeys(drawn[tests : tests + round(vocabulary_share * len(units))], _VOCABULARY)
    return np.array([part_of.get(pair.unit, _TRAIN) for pair in pairs], dtype=np.int64)
