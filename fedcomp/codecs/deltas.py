"""Coded model deltas: how whoever follows a chain of released models gets from one version to the next."""

from collections.abc import Callable, Sequence

from fedcomp.arrays import Array, Arrays, add


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
