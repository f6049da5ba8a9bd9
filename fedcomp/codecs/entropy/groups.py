"""Several symbols as one index, and back: what a ``GroupTable`` gives slots to."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.entropy.tables import GroupTable

_CHUNK = 2**15


def group_symbols(symbols: NDArray[Any], table: GroupTable) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return an index a group (zeros fill the last one), and the true index of every group that is escaped."""
    indices = np.empty(-(-len(symbols) // table.group), dtype=np.uint16)
    for at in range(0, len(indices), _CHUNK):
        out = indices[at : at + _CHUNK]
        part = symbols[at * table.group : (at + _CHUNK) * table.group]
        if len(part) < len(out) * table.group:
            part = np.append(part, np.zeros(len(out) * table.group - len(part), part.dtype))
        digits = part.reshape(-1, table.group)
        out[:] = digits[:, 0]
        for column in range(1, table.group):
            np.multiply(out, np.uint16(table.alphabet), out)
            np.add(out, digits[:, column], out, casting="unsafe")
    if table.frequencies.all():
        return indices, np.empty(0, dtype=np.uint16)
    rare = (table.frequencies == 0)[indices]
    escaped = indices[rare]
    indices[rare] = table.combinations
    return indices, escaped


def restore_escaped(indices: NDArray[np.uint16], escaped: Array, table: GroupTable) -> None:
    """Put the true indices in the places of the escaped groups; raises ``PayloadError`` if they do not fit."""
    places = np.flatnonzero(indices == table.combinations) if table.has_escape else np.empty(0, dtype=np.intp)
    if len(places) != len(escaped) or escaped.max(initial=0) >= table.combinations:
        raise PayloadError(f"expected {len(places)} escaped groups below {table.combinations}, got others")
    indices[places] = escaped


def ungroup_symbols(indices: NDArray[np.uint16], table: GroupTable, length: int) -> NDArray[np.uint16]:
    """Return the first ``length`` symbols of groups without escapes; raises ``PayloadError`` if the rest is not 0."""
    if table.group == 1:
        return indices
    symbols = group_digits(table).take(indices.astype(np.intp), axis=0, mode="clip").reshape(-1)
    if symbols[length:].any():
        raise PayloadError("expected zeros after the last symbol of a coded stream")
    return symbols[:length]


def group_digits(table: GroupTable) -> NDArray[np.uint16]:
    """Return the symbols of every group, shape (combinations, group)."""
    return _digits(table.alphabet, table.group)


@lru_cache(maxsize=32)
def _digits(alphabet: int, group: int) -> NDArray[np.uint16]:
    powers = alphabet ** np.arange(group - 1, -1, -1)
    return (np.arange(alphabet**group)[:, None] // powers % alphabet).astype(np.uint16)
