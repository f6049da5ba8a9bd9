"""More to see in few rows: versions of images that their teacher still answers well for."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHIFT = 1


def image_versions(raw: NDArray[Any], copies: int, rng: np.random.Generator) -> list[NDArray[Any]]:
    """Return ``copies`` float32 versions of images ``[n, c, h, w]``, the first as they are; other rows as they are.

    The others are shifted by up to a pixel each way (the border is repeated), and every second of them is mixed with
    another image of the slice, at most half and half (Zhang et al., *mixup: Beyond empirical risk minimization*, 2018).
    Larger shifts and mirror images are left out: a teacher that never saw them answers wrongly, and the student learns
    that. Rows of whole numbers are tokens and keep their type; all others come as float32.
    """
    if not np.issubdtype(raw.dtype, np.floating):
        return [np.array(raw, dtype=np.int64)]
    original = np.array(raw, dtype=np.float32)
    if original.ndim != 4:
        return [original]
    moved = [_moved(original, rng) for _ in range(copies - 1)]
    return [original, *(_mixed(images, rng) if number % 2 else images for number, images in enumerate(moved))]


def _moved(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    count, _, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    down, right = rng.integers(0, 2 * _SHIFT + 1, size=(2, count))
    return np.ascontiguousarray(windows[np.arange(count), :, down, right])


def _mixed(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    share = rng.random((len(images), 1, 1, 1), dtype=np.float32) / 2
    others = images[rng.permutation(len(images))]
    mixed: NDArray[np.float32] = ((1 - share) * images + share * others).astype(np.float32)
    return mixed
