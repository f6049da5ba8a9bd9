"""NumPy arrays and pandas tables out of the trees that ``pickle_tree`` reads."""

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError
from fedcomp.tasks.sources.pickle_tree import Made

_TABLES = {"pandas.core.frame.DataFrame", "pandas.DataFrame"}  # before pandas 3, and from it on
_TYPES = re.compile(r"[<|][biuf][1248]")


def pickled_array(made: Any) -> NDArray[Any]:
    """Return the array that a pickle of NumPy would have made.

    Elements of an array of objects that are arrays are made too; all others stay as the tree has them.

    Raises:
        DataError: for what is not an array, whose type is not numbers, truth values or objects, or whose data does not
            fill its shape.
    """
    called = made.name.replace("numpy._core.", "numpy.core.") if isinstance(made, Made) else ""  # NumPy 2, NumPy 1
    if called == "numpy.core.numeric._frombuffer":
        content, kind, shape, order = _several(made.arguments, 4)
        return _filled(content, _type(kind), shape, order)
    if called == "numpy.core.multiarray._reconstruct":
        _, shape, kind, fortran, content = _several(made.state, 5)
        return _filled(content, _type(kind), shape, "F" if fortran else "C")
    raise DataError(f"expected a pickled array, got {getattr(made, 'name', type(made).__name__)}")


def pickled_table(made: Any) -> dict[str, NDArray[Any]]:
    """Return the columns ``[n]`` of the table that a pickle of pandas would have made, by name.

    Raises:
        DataError: for what is not a table, or whose columns are not all there.
    """
    if not isinstance(made, Made) or made.name not in _TABLES or not isinstance(made.state, dict):
        raise DataError(f"expected a pickled table, got {getattr(made, 'name', type(made).__name__)}")
    manager = made.state.get("_mgr")
    blocks, axes = _several(getattr(manager, "arguments", None), 2)
    _, index = _several(axes[0].arguments, 2)
    names = [str(name) for name in pickled_array(index["data"])]
    columns: dict[str, NDArray[Any]] = {}
    for block in blocks:
        values, places, _ = _several(block.arguments, 3)
        numbers = np.arange(len(names))[slice(*places.arguments)] if _is_slice(places) else pickled_array(places)
        rows = pickled_array(values)
        columns |= {names[number]: row for number, row in zip(numbers, rows, strict=True)}
    if sorted(columns) != sorted(names):
        raise DataError(f"expected the columns {', '.join(names)}, got {', '.join(columns)}")
    return {name: columns[name] for name in names}


def _is_slice(made: Any) -> bool:
    return isinstance(made, Made) and made.name == "builtins.slice"


def _several(values: Any, count: int) -> tuple[Any, ...]:
    if not isinstance(values, tuple) or len(values) != count:
        raise DataError(f"expected {count} parts of a pickled array or table, got {type(values).__name__}")
    return values


def _type(made: Any) -> np.dtype[Any]:
    """Return the type that ``numpy.dtype(code, ...)`` with a state of version, byte order and more would be."""
    if not isinstance(made, Made) or made.name != "numpy.dtype" or not made.arguments or not made.state:
        raise DataError(f"expected a pickled type of numbers, got {getattr(made, 'name', type(made).__name__)}")
    code = f"{made.state[1]}{made.arguments[0]}"
    if code == "|O8":
        return np.dtype(object)
    if not _TYPES.fullmatch(code):
        raise DataError(f"expected a pickled type of little-endian numbers, got {code!r}")
    return np.dtype(code)


def _filled(content: Any, kind: np.dtype[Any], shape: tuple[int, ...], order: Any) -> NDArray[Any]:
    flat = _objects(content) if kind.hasobject else _numbers(content, kind)
    if flat.size != math.prod(shape):
        raise DataError(f"expected {math.prod(shape)} elements of an array {list(shape)}, got {flat.size}")
    return flat.reshape(shape, order=order)


def _objects(content: Any) -> NDArray[Any]:
    if not isinstance(content, list):
        raise DataError(f"expected a list of objects for an array, got {type(content).__name__}")
    flat = np.empty(len(content), dtype=object)
    for number, each in enumerate(content):
        flat[number] = pickled_array(each) if isinstance(each, Made) else each
    return flat


def _numbers(content: Any, kind: np.dtype[Any]) -> NDArray[Any]:
    if isinstance(content, Made) and content.name == "_codecs.encode" and content.arguments:
        content = content.arguments[0].encode("latin1")  # how protocol 2, which has no bytes, writes them
    if not isinstance(content, bytes | bytearray):
        raise DataError(f"expected the bytes of a {kind} array, got {type(content).__name__}")
    whole = len(content) // kind.itemsize * kind.itemsize
    return np.frombuffer(content[:whole], dtype=kind)
