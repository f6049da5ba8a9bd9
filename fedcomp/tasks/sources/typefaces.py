"""Letters and digits drawn from typefaces: the Debian package ``fonts-aenigma``, by Brian Kent."""

import hashlib
import string
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError
from fedcomp.tasks.features import cached_features
from fedcomp.tasks.fetch import DebianData, fetch, locate

CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
GLYPH_SIZE = 28

_DATA = DebianData(
    package="fonts-aenigma",
    directory="/usr/share/fonts/truetype/aenigma",
    # two stand for all of its 465 files
    files=("combuspl.ttf", "wincing.ttf"),
)
_DRAWN = 64  # pixels of the type size that glyphs are drawn in, before they are made smaller
_INK = 24


def typeface_files(download: bool = False) -> tuple[Path, ...]:
    """Return the package's typefaces, sorted by name.

    Raises:
        DataError: if they are nowhere on this machine (and, with ``download``, cannot be fetched into the user's cache
            either).
    """
    directory = (fetch if download else locate)(_DATA)
    return tuple(sorted(directory.glob("*.ttf")))


def typeface_glyphs(files: tuple[Path, ...]) -> NDArray[np.float16]:
    """Return pictures ``[typefaces, 62, 28, 28]`` of ``CHARACTERS`` in [-1, 1]; kept in the user's cache.

    Ink is 1. A typeface that draws all characters alike is left out (one does). The cache knows typefaces by what
    their files hold, and FreeType by its version, because another one may draw other greys.

    Raises:
        DataError: if a file is no typeface, naming it, or the cache cannot be written.
    """
    from PIL import features  # only this task needs it

    keys = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
    rows = np.frombuffer(keys, dtype=np.uint8).reshape(len(files), -1)

    def draw_all(_: NDArray[Any]) -> NDArray[np.float16]:
        drawn = [draw_typeface(file).reshape(-1) for file in files]
        return np.array(np.array(drawn) / np.float32(127.5) - 1, dtype=np.float16)

    name = f"typefaces-28-v1-freetype-{features.version('freetype2')}"
    cached = cached_features(name, rows, draw_all, len(CHARACTERS) * GLYPH_SIZE**2)
    glyphs = cached.reshape(len(files), len(CHARACTERS), GLYPH_SIZE, GLYPH_SIZE)
    several = (glyphs != glyphs[:, :1]).any(axis=(1, 2, 3))
    kept: NDArray[np.float16] = glyphs[several]
    return kept


def draw_typeface(file: Path) -> NDArray[np.uint8]:
    """Return pictures ``[62, 28, 28]`` of ``CHARACTERS``, ink 255.

    One scale for the whole typeface, so that a capital stays taller than its small letter: 24 pixels from the highest
    to the lowest point of any character. What is wider than 24 pixels is narrowed. Ink is centred from left to right.

    Raises:
        DataError: if the file is no typeface, naming it.
    """
    from PIL import Image, ImageDraw, ImageFont

    try:
        font = ImageFont.truetype(file, _DRAWN)
    except OSError as error:
        raise DataError(f"{file}: expected a typeface, got: {error}") from error
    boxes = [font.getbbox(each, anchor="ls") for each in CHARACTERS]
    top, bottom = min(box[1] for box in boxes), max(box[3] for box in boxes)
    if bottom <= top:
        raise DataError(f"{file}: expected a typeface with ink in letters and digits, got none")
    pictures = []
    for character, (left, _, right, _) in zip(CHARACTERS, boxes, strict=True):
        large = Image.new("L", (max(1, int(right - left)), int(bottom - top)))
        ImageDraw.Draw(large).text((-left, -top), character, fill=255, font=font, anchor="ls")
        width = min(_INK, max(1, round(large.width * _INK / large.height)))
        picture = Image.new("L", (GLYPH_SIZE, GLYPH_SIZE))
        edge = (GLYPH_SIZE - _INK) // 2
        picture.paste(large.resize((width, _INK), Image.Resampling.BOX), ((GLYPH_SIZE - width) // 2, edge))
        pictures.append(np.asarray(picture))
    return np.array(pictures, dtype=np.uint8)
