"""BLEU, how much of a translation's wording a reference has: K. Papineni, S. Roukos, T. Ward and W. Zhu, *BLEU: a
Method for Automatic Evaluation of Machine Translation* (2002)."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ORDERS = range(1, 5)
_COUNTS = 2 * len(_ORDERS) + 2
_WORD = re.compile(r"\w+|[^\w\s]")


def corpus_bleu(translations: Sequence[str], references: Sequence[str]) -> float:
    """Return corpus BLEU-4 in [0, 100] of translations against one reference each.

    Counts are summed over the corpus before they are divided, with the brevity penalty and without smoothing: a corpus
    in which no four words in a row are right has 0. Words are runs of letters and digits, and every other mark is a
    word, so that values compare among themselves, not with those of other tokenizations.

    Raises:
        ValueError: without translations, or with another number of references.
    """
    if not translations or len(translations) != len(references):
        raise ValueError(
            f"expected translations and a reference for each, got {len(translations)} and {len(references)}"
        )
    counts = sum(map(bleu_counts, translations, references), np.zeros(_COUNTS))
    return float(bleu_of(counts))


def bleu_counts(translation: str, reference: str) -> NDArray[np.float64]:
    """Return what BLEU knows of a text, ``[10]``: n-grams of 1 to 4 words that are right, as many as there are, and the
    words of both. Counts of texts add up to those of a corpus."""
    own, meant = words(translation), words(reference)
    found = [_ngrams(own, order) for order in _ORDERS]
    right = [(each & _ngrams(meant, order)).total() for each, order in zip(found, _ORDERS, strict=True)]
    return np.array([*right, *(each.total() for each in found), len(own), len(meant)], np.float64)


def bleu_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return BLEU of each corpus, ``[...]`` of counts ``[..., 10]``; 0 where no n-gram of some order is right."""
    orders = len(_ORDERS)
    right, there, own, meant = counts[..., :orders], counts[..., orders:-2], counts[..., -2], counts[..., -1]
    some = right.min(axis=-1, keepdims=True) > 0
    precisions = np.where(some, right, 1.0) / np.where(some, there, 1.0)
    brevity = np.exp(np.minimum(0.0, 1 - meant / np.maximum(own, 1)))
    return np.asarray(np.where(some[..., 0], 100 * brevity * np.exp(np.log(precisions).mean(axis=-1)), 0.0))


def words(text: str) -> list[str]:
    """Return the words that BLEU counts."""
    return _WORD.findall(text)


def _ngrams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
