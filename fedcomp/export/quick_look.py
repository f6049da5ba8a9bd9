"""A small model's answers to a file of rows, after its file was checked against its manifest."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import RunError
from fedcomp.export.manifest import Manifest, read_manifest
from fedcomp.runtimes.base import Runtime
from fedcomp.runtimes.registry import RUNTIMES

_MAX_BYTES = 4 << 30


@dataclass(frozen=True)
class Answer:
    """What a model said: ``outputs [n, ...]``, the time for all rows, and its manifest (None if it has none)."""

    outputs: NDArray[Any]
    milliseconds: float
    manifest: Manifest | None


def quick_look(model: Path, rows: Path, signer: str | None = None) -> Answer:
    """Run ``model`` on ``rows``: a ``.npy`` file ``[n, ...]`` (or of one row), or a picture, which becomes one row.

    A ``manifest.json`` beside the model is checked first: signature, and SHA-256 of the model. ``signer`` is the public
    key, hexadecimal, that has to have signed it.

    Raises:
        RunError: naming the file that is missing, damaged, of another shape or signed by somebody else.
    """
    content = _read(model)
    path = model.parent / "manifest.json"
    if signer is not None and not path.exists():
        raise RunError(f"{path}: expected a manifest signed by {signer}, found none")
    manifest = read_manifest(path, content, signer) if path.exists() else None
    runtime = _runtime(model, manifest)
    batch = _batch(rows, manifest)
    program = runtime.open(content)
    began = time.perf_counter()
    try:
        outputs = program(batch)
    except Exception as error:  # a runtime's own errors have no common base
        raise RunError(f"{model} cannot run rows {list(batch.shape)} of {batch.dtype}: {error}") from error
    return Answer(outputs, 1e3 * (time.perf_counter() - began), manifest)


def _read(path: Path) -> bytes:
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise RunError(f"{path}: expected a model of at most {_MAX_BYTES} bytes, got {size}")
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def _runtime(model: Path, manifest: Manifest | None) -> Runtime:
    """Return the runtime that the manifest names, or the first one whose files end like the model's."""
    named = str(manifest.content["runtime"]) if manifest else ""
    if named and named not in RUNTIMES:
        raise RunError(f"{model}: expected a model for one of {', '.join(RUNTIMES)}, its manifest says {named!r}")
    if named:
        return RUNTIMES[named]
    for runtime in RUNTIMES.values():
        if runtime.suffix == model.suffix:
            return runtime
    known = ", ".join(sorted({each.suffix for each in RUNTIMES.values()}))
    raise RunError(f"{model}: expected a file that ends in {known}, got {model.suffix or 'no ending'}")


def _batch(path: Path, manifest: Manifest | None) -> NDArray[Any]:
    shape = list(manifest.content["input"]["shape"]) if manifest and "input" in manifest.content else None
    found = _array(path) if path.suffix == ".npy" else _picture(path, shape)
    dtype = np.float32 if np.issubdtype(found.dtype, np.floating) else np.int64
    found = found.astype(dtype)
    if shape is None or list(found.shape[1:]) == shape:
        return found
    if list(found.shape) == shape:
        return found[None]
    raise RunError(f"{path}: expected rows {['n', *shape]}, got {list(found.shape)}")


def _array(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: expected an array in numpy's .npy format, got something else: {error}") from error
    if not np.issubdtype(found.dtype, np.number) or found.ndim < 1:
        raise RunError(f"{path}: expected rows of numbers, got {found.dtype}{list(found.shape)}")
    return np.asarray(found)


def _picture(path: Path, shape: list[int] | None) -> NDArray[Any]:
    """Return one row of a picture's pixels in [-1, 1], as the image tasks scale theirs."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise RunError(f"{path}: reading pictures needs Pillow: pip install pillow; or give a .npy file") from error
    if shape is None or len(shape) != 3 or shape[0] not in (1, 3):
        raise RunError(f"{path}: a picture fits a model of images [1 or 3, height, width], this one eats {shape}")
    try:
        with Image.open(path) as image:
            sized = image.convert("L" if shape[0] == 1 else "RGB").resize((shape[2], shape[1]))
            pixels = np.asarray(sized, np.float32) / 127.5 - 1
    except (OSError, UnidentifiedImageError) as error:
        raise RunError(f"{path}: expected a picture, got something else: {error}") from error
    return pixels[None, None] if shape[0] == 1 else np.moveaxis(pixels, 2, 0)[None]
