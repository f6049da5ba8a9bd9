"""BLEU, how much of a translation's wording a reference has: K. Papineni, S. Roukos, T. Ward and W. Zhu, *BLEU: a
Method for Automatic Evaluation of Machine Translation* (2002)."""

import math
import re
from collections import Counter
from collections.abc import Sequence

_ORDERS = range(1, 5)
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
    pairs = [
        (words(translation), words(reference)) for translation, reference in zip(translations, references, strict=True)
    ]
    precisions = [_precision(pairs, order) for order in _ORDERS]
    if min(precisions) == 0:
        return 0.0
    lengths = [sum(len(pair[side]) for pair in pairs) for side in (0, 1)]
    brevity = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * brevity * math.exp(sum(map(math.log, precisions)) / len(precisions))


def words(text: str) -> list[str]:
    """Return the words that BLEU counts."""
    return _WORD.findall(text)


def _precision(pairs: Sequence[tuple[list[str], list[str]]], order: int) -> float:
    """Return the share of the translations' n-grams that their references have, each as often as there at most."""
    right = total = 0
    for translation, reference in pairs:
        found = _ngrams(translation, order)
        right += (found & _ngrams(reference, order)).total()
        total += found.total()
    return right / total if total else 0.0


def _ngrams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))
