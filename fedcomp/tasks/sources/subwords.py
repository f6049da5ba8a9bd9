"""Texts as numbers of subwords: byte-pair encoding over bytes, so that there is no text without numbers.

R. Sennrich, B. Haddow and A. Birch, *Neural Machine Translation of Rare Words with Subword Units* (2016). Which pieces
there are follows from the text that they were learnt on: learn them on public text alone, because pieces that private
text gave would tell of it.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError

_BYTES = 256


class Mark(IntEnum):
    """Numbers that stand for no text. ``END`` is 0, a number that every target may have: see ``training.probe``."""

    END = 0
    BEGIN = 1
    PAD = 2


@dataclass(frozen=True, eq=False)
class Subwords:
    """A vocabulary; see ``learn_subwords``."""

    _tokenizer: Any

    @property
    def size(self) -> int:
        """Return how many numbers there are, the marks among them."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return for each text the numbers of its subwords, without marks."""
        return [coded.ids for coded in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, rows: Iterable[Sequence[int]]) -> list[str]:
        """Return the text of each row of numbers, up to its first ``END``; other marks have no text."""
        cut = [list(map(int, row)) for row in rows]
        cut = [row[: row.index(Mark.END)] if Mark.END in row else row for row in cut]
        return [text.strip() for text in self._tokenizer.decode_batch(cut, skip_special_tokens=True)]


def learn_subwords(texts: Sequence[str], size: int) -> Subwords:
    """Return the vocabulary of at most ``size`` numbers that byte-pair encoding finds in ``texts``.

    The same texts give the same vocabulary.

    Raises:
        ValueError: if ``size`` has no room for the marks and all bytes.
        DataError: if ``tokenizers`` is not installed, with the command.
    """
    if size < _BYTES + len(Mark):
        raise ValueError(f"size must be at least {_BYTES + len(Mark)}, the marks and all bytes, got {size}")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads would not survive a fork of ours
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise DataError("subwords need tokenizers; run `pip install 'fedcomp[translation]'`") from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[f"<{mark.name.lower()}>" for mark in Mark],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True  # a text that looks like a mark is a text like any other
    return Subwords(tokenizer)


def padded(rows: Sequence[Sequence[int]], length: int) -> NDArray[np.int64]:
    """Return the rows as int64 ``[n, length]``, each followed by ``PAD``.

    Raises:
        ValueError: for a row that is longer.
    """
    found = np.full((len(rows), length), Mark.PAD, dtype=np.int64)
    for number, row in enumerate(rows):
        if len(row) > length:
            raise ValueError(f"a row must have at most {length} numbers, got {len(row)}")
        found[number, : len(row)] = row
    return found
