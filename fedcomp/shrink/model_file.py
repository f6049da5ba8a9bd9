"""Named arrays as a safetensors file: no code in it, and a damaged one is refused by name."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from fedcomp.arrays import Array, Arrays
from fedcomp.errors import RunError
from fedcomp.files import write_atomic

_NAMES = "fedcomp.names"  # safetensors sorts its arrays; their order is part of a model state
_MAX_BYTES = 4 << 30


def save_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, str] | None = None) -> int:
    """Write the arrays and texts about them (task, architecture, ...) to ``path``; return the file's size in bytes.

    Raises:
        RunError: if the file cannot be written; an existing one is left as it was.
        ValueError: for an array of objects or another dtype that a model file cannot hold, naming it.
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise ValueError(f"array {name!r}: expected numbers, got {array.dtype}")
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    content = safetensors.numpy.save(ordered, {**(metadata or {}), _NAMES: json.dumps(list(arrays))})
    write_atomic(path, content)
    return len(content)


def load_arrays(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays that ``save_arrays`` wrote, in their order, and the texts.

    Raises:
        RunError: naming the file, if it is missing, damaged, larger than 4 GiB, or not one of ours.
    """
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise RunError(f"{path}: expected a model of at most {_MAX_BYTES} bytes, got {size}")
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            metadata = dict(file.metadata() or {})
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise RunError(f"{path}: not a model file: {error}") from error
    names = _names(path, metadata.pop(_NAMES, ""))
    if sorted(names) != sorted(arrays):
        raise RunError(f"{path}: expected arrays named {names}, got {sorted(arrays)}")
    return {name: arrays[name] for name in names}, metadata


def _names(path: Path, text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError as error:
        raise RunError(f"{path}: expected the arrays' order in its metadata, got {text[:40]!r}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RunError(f"{path}: expected a list of names in its metadata, got {text[:40]!r}")
    return names
