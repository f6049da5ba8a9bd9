"""Small made Fashion-MNIST files, for tests that must not depend on a download."""

import gzip
from pathlib import Path

import numpy as np

PARTS = {"train": 60, "t10k": 20}


def idx_bytes(values, magic=None):
    header = bytes([0, 0, 8, values.ndim]) if magic is None else magic
    return gzip.compress(header + np.array(values.shape, dtype=">u4").tobytes() + values.tobytes(), mtime=0)


def write_fashion_mnist(directory: Path) -> Path:
    """Write files in which the class of an image can be seen: a bright row that its label gives the place of."""
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in PARTS.items():
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
        images[np.arange(count), labels * 2 + 3] = 255
        (directory / f"{part}-images-idx3-ubyte.gz").write_bytes(idx_bytes(images))
        (directory / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(labels))
    return directory
