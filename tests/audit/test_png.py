"""PNG files: another reader sees the pixels that were written."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from fedcomp.audit.png import encode_png, picture_strip


def decode(png: bytes) -> np.ndarray:
    return np.rint(255 * imread(io.BytesIO(png), format="png")).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (40, 7)])
def test_pixels_come_back(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decode(encode_png(pixels)), pixels)
    assert encode_png(pixels) == encode_png(pixels.copy())


def test_a_damaged_file_is_noticed():
    """The checksums are right: a reader that checks them refuses a flipped byte."""
    png = bytearray(encode_png(np.arange(12, dtype=np.uint8).reshape(3, 4)))
    png[45] ^= 1
    with pytest.raises((OSError, SyntaxError, ValueError)):
        decode(bytes(png))


def test_a_strip_has_a_row_for_each_argument():
    originals = np.stack([np.zeros((3, 3)), np.ones((3, 3))])
    found = np.stack([np.full((3, 3), 0.5), np.full((3, 3), 7.0)])
    sheet = decode(picture_strip(originals, found, magnify=4))
    assert sheet.shape == (4 * 8, 4 * 8)  # two pictures of 3 pixels and a gap of 2, each way, magnified
    corners = sheet[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.tolist() == [0, 255, 128, 255]
    assert (sheet[12:20] == 255).all()
    assert (sheet[:12, :12] == 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: encode_png(np.zeros((2, 2))), r"pixels must be uint8\[h, w\], got float64\[2, 2\]"),
        (lambda: encode_png(np.zeros((0, 2), np.uint8)), r"got uint8\[0, 2\]"),
        (lambda: picture_strip(np.zeros((1, 2, 2)), np.zeros((2, 2, 2))), "of one shape"),
        (lambda: picture_strip(np.zeros((2, 2))), r"pictures \[n, h, w\]"),
        (lambda: picture_strip(), r"got \[\]"),
        (lambda: picture_strip(np.full((1, 2, 2), np.nan)), "finite"),
        (lambda: picture_strip(np.zeros((1, 2, 2)), magnify=0), "magnify must be at least 1, got 0"),
    ],
)
def test_what_is_no_picture_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
