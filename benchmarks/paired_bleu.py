"""Two systems that translate the same texts: how much BLEU one loses, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedcomp.tasks.bleu import bleu_counts, bleu_of


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
    tables = np.stack([list(map(bleu_counts, each, references)) for each in (first, second)])
    count = len(references)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    whole, resampled = bleu_of(tables.sum(axis=1)), bleu_of(drawn @ tables)
    low, high = np.quantile(resampled[0] - resampled[1], (0.025, 0.975)).tolist()
    return BleuLoss(float(whole[0]), float(whole[1]), float(whole[0] - whole[1]), (low, high))
