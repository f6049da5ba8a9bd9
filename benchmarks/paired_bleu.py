"""Two systems that translate the same texts: how much BLEU one loses, and how sure that is."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp.tasks.bleu import words

_ORDERS = 4
_Tables = NDArray[np.float64]
"""``[..., 2 * orders + 2]``: n-grams of each order that are right, those there are, and words of both texts."""


@dataclass(frozen=True)
class BleuLoss:
    """BLEU of both systems over all texts, what the second loses, and the bounds of its 95 % interval."""

    first: float
    second: float
    lost: float
    interval: tuple[float, float]


def paired_bleu(
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[str],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> BleuLoss:
    """Return what ``second`` loses against ``first``: translations of the same texts, with a reference each.

    Paired bootstrap: texts are drawn with replacement, as many as there are, and both systems are scored on the same
    draw; the interval holds the middle 95 % of the differences. P. Koehn, *Statistical Significance Tests for Machine
    Translation Evaluation* (2004). BLEU is that of ``fedcomp.tasks.bleu``, over each draw as a corpus.

    Raises:
        ValueError: for no texts, or unequally many.
    """
    if not len(first) == len(second) == len(references) or not references:
        raise ValueError(
            f"expected as many translations of both and references, at least 1, got {len(first)}, {len(second)} and "
            f"{len(references)}"
        )
    tables = np.stack([_table(each, references) for each in (first, second)])
    count = len(references)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    whole, resampled = _bleu(tables.sum(axis=1)), _bleu(drawn @ tables)
    low, high = np.quantile(resampled[0] - resampled[1], (0.025, 0.975)).tolist()
    return BleuLoss(float(whole[0]), float(whole[1]), float(whole[0] - whole[1]), (low, high))


def _table(translations: Sequence[str], references: Sequence[str]) -> _Tables:
    return np.array([_row(words(one), words(two)) for one, two in zip(translations, references, strict=True)])


def _row(translation: list[str], reference: list[str]) -> list[float]:
    grams = [(_ngrams(translation, order), _ngrams(reference, order)) for order in range(1, _ORDERS + 1)]
    right = [(found & meant).total() for found, meant in grams]
    return [*right, *(found.total() for found, _ in grams), len(translation), len(reference)]


def _ngrams(tokens: list[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(tokens[start:] for start in range(order)), strict=False))


def _bleu(sums: _Tables) -> NDArray[np.float64]:
    """Return BLEU of each of ``sums [..., 10]``, counts over a corpus; 0 where no n-gram of some order is right."""
    right, there, (own, meant) = sums[..., :_ORDERS], sums[..., _ORDERS:-2], np.moveaxis(sums[..., -2:], -1, 0)
    some = right.min(axis=-1) > 0
    precisions = np.where(some[..., None], right, 1.0) / np.where(some[..., None], there, 1.0)
    brevity = np.exp(np.minimum(0.0, 1 - meant / np.maximum(own, 1)))
    return np.asarray(np.where(some, 100 * brevity * np.exp(np.log(precisions).mean(axis=-1)), 0.0))
