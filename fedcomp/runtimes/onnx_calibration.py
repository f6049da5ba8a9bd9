"""Ranges of activations of an ONNX graph on given rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.runtimes.onnx_graph import GraphEditor
from fedcomp.runtimes.onnx_session import onnx_session

_PIECE = 32  # rows at a time: all activations of a piece are in memory at once


def activation_ranges(
    content: bytes, names: Sequence[str], rows: NDArray[Any], percentile: float = 100.0
) -> dict[str, tuple[float, float]]:
    """Return the lowest and highest value of each named tensor over ``rows``, computed in fp32.

    With a ``percentile`` below 100 that share of values lies between them, the rest half on each side: a few outliers
    then do not make the steps of all other values coarser. It is exact: only the tails are kept, whatever the number of
    rows.

    Raises:
        ValueError: for a percentile outside (50, 100].
    """
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be in (50, 100], got {percentile}")
    editor = GraphEditor(content)
    given = editor.graph.input[0].name
    added = [name for name in names if name != given]
    present = {one.name for one in editor.graph.output}
    editor.graph.output.extend(editor.value(name) for name in added if name not in present)
    session = onnx_session(editor.content())
    cut = (100 - percentile) / 200
    low: dict[str, NDArray[Any]] = {}
    high: dict[str, NDArray[Any]] = {}
    for start in range(0, len(rows), _PIECE):
        piece = rows[start : start + _PIECE]
        found = dict(zip(added, session.run(added, {given: piece}), strict=True)) if added else {}
        for name in names:
            values = np.ravel(found.get(name, piece))
            # of all values in all rows, how many may lie beyond one end
            beyond = int(cut * values.size / len(piece) * len(rows))
            low[name] = _smallest(np.concatenate([low.get(name, values[:0]), values]), beyond + 1)
            high[name] = -_smallest(np.concatenate([-high.get(name, values[:0]), -values]), beyond + 1)
    return {name: (float(low[name].max()), float(high[name].min())) for name in names}


def _smallest(values: NDArray[Any], count: int) -> NDArray[Any]:
    return values if values.size <= count else np.partition(values, count - 1)[:count]
