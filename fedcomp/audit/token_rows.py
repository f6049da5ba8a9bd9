"""Rows of tokens in audits: which tokens there are, and which of them an update gives away."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float64]


def has_tokens(rows: NDArray[Any]) -> bool:
    """Return whether rows hold tokens, not numbers that can be scaled."""
    return bool(np.issubdtype(rows.dtype, np.integer))


def vocabulary_of(module: nn.Module) -> int:
    """Return a number that every embedding of ``module`` has rows below: those are tokens to any of them.

    Raises:
        ValueError: if it has none.
    """
    return min(layer.num_embeddings for _, layer in _embeddings(module))


def token_bags(module: nn.Module, rows: NDArray[Any], padding: int) -> Floats:
    """Return how often rows ``[n, ...]`` hold each token but ``padding``, ``[n, vocabulary]``, of length 1 each.

    Raises:
        ValueError: for a model without an embedding.
    """
    flat = rows.reshape(len(rows), -1)
    bags = np.zeros((len(flat), _largest(module)[1].num_embeddings))
    np.add.at(bags, (np.arange(len(flat))[:, None], flat), 1.0)
    bags[:, padding] = 0.0
    return _unit(bags)


def tokens_of_update(module: nn.Module, update: Mapping[str, NDArray[Any]], padding: int) -> Floats:
    """Return how much of each token an update holds, ``[vocabulary]``, of length 1: what ``token_bags`` has of its row.

    One step moves those rows of an embedding whose tokens were in the batch, and no others (L. Melis, C. Song, E. De
    Cristofaro and V. Shmatikov, *Exploiting Unintended Feature Leakage in Collaborative Learning*, 2019). What moves
    all of them, as noise and rounding do, is taken off: the median over the tokens.

    Args:
        module: the model before the update; its largest embedding is looked at.
        update: after minus before, as the attacker has it.
        padding: the token that counts for nothing.

    Raises:
        ValueError: for a model without an embedding, or an update without its weights.
    """
    name, _ = _largest(module)
    key = f"{name}.weight" if name else "weight"
    if key not in update:
        raise ValueError(f"update must hold {key!r}, got {sorted(update)}")
    moved = np.linalg.norm(np.asarray(update[key], np.float64), axis=1)
    moved[padding] = 0.0
    return _unit(np.maximum(moved - np.median(moved), 0.0)[None]).reshape(-1)


def _embeddings(module: nn.Module) -> list[tuple[str, nn.Embedding]]:
    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Embedding)]
    if not found:
        raise ValueError(f"expected a model with an embedding of tokens, got a {type(module).__name__} without")
    return found


def _largest(module: nn.Module) -> tuple[str, nn.Embedding]:
    """Return the embedding of most rows, and its name: places have one too, and fewer."""
    return max(_embeddings(module), key=lambda each: each[1].num_embeddings)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30))
