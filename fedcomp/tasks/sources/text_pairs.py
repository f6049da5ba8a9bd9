"""Texts and their translations, each with who holds it; and their cache, since parsing them takes seconds."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from fedcomp.errors import DataError
from fedcomp.files import write_atomic
from fedcomp.tasks.fetch import cache_directory


@dataclass(frozen=True)
class TextPair:
    """One text in two languages.

    ``holder`` names who has it (a book, a catalogue); ``unit`` names what must not be torn apart by a split into
    training and test (a chapter, all that has the same source text).
    """

    source: str
    target: str
    holder: str
    unit: str


def cached_pairs(
    name: str, files: Sequence[Path], parse: Callable[[Sequence[Path]], list[TextPair]]
) -> tuple[TextPair, ...]:
    """Return ``parse(files)`` from the user's cache, after parsing once.

    The key is ``name`` (which must change when ``parse`` does) and what the files hold. A file in the cache that is
    damaged is written again; it appears whole or not at all.

    Raises:
        DataError: if a file cannot be read, or the cache cannot be written.
    """
    try:
        digest = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
        path = cache_directory() / "texts" / f"{name}-{digest[:32]}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs = _read(path)
        if pairs is None:
            pairs = tuple(parse(files))
            write_atomic(path, json.dumps([astuple(pair) for pair in pairs], ensure_ascii=False).encode())
    except OSError as error:
        raise DataError(f"cannot read or keep the texts of {name}: {error}") from error
    return pairs


def _read(path: Path) -> tuple[TextPair, ...] | None:
    try:
        return tuple(TextPair(*fields) for fields in json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
