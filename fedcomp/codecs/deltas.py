"""Coded model deltas: how whoever follows a chain of released models gets from one version to the next."""

from collections.abc import Callable, Sequence

from fedcomp.arrays import Array, Arrays, add, digest
from fedcomp.codecs.registry import codec_from_config

WHOLE = codec_from_config([])
"""How a model travels, and is kept, whole: losslessly, so that all who hold a version hold the same bits."""


def model_name(model: Arrays) -> str:
    """Return what a model is called in messages: the first 128 bits of its digest, as hex."""
    return digest(model)[:32]


def apply_deltas(base: Arrays, deltas: Sequence[bytes], decode: Callable[[bytes], Arrays]) -> dict[str, Array]:
    """Return ``base`` plus every decoded delta, in order: bit for bit what the server counts as released.

    Raises:
        ArraysError: if a delta's names, shapes or dtypes are not those of ``base``.
        PayloadError: as ``decode`` does.
    """
    model = dict(base)
    for payload in deltas:
        model = add(model, decode(payload))
    return model
