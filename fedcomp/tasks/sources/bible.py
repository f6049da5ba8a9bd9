"""Verses of the Bible in English and Spanish: the Debian packages ``sword-text-web`` and ``sword-text-sparv``.

The World English Bible and the Reina-Valera of 1909, both in the public domain.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import DebianData, fetch, locate
from fedcomp.tasks.sources.text_pairs import TextPair, cached_pairs

_FILES = ("ot.bzs", "ot.bzv", "ot.bzz", "nt.bzs", "nt.bzv", "nt.bzz")
_TEXTS = "/usr/share/sword/modules/texts/ztext"
_ENGLISH = DebianData("sword-text-web", f"{_TEXTS}/engWEB2015eb", _FILES)
_SPANISH = DebianData("sword-text-sparv", f"{_TEXTS}/spaRV1909eb", _FILES)
_FORMAT = "bible-en-es-v1"  # must change when the parsing does
_LEAST = 30_000

_SILENT = re.compile(r"<(note|title|list)\b[^>]*[^/>]>.*?</\1>", re.DOTALL)  # notes, headings, tables of contents
_TAG = re.compile(r"<[^>]*>")
Place = tuple[str, int, int]


def bible_pairs(download: bool = False) -> tuple[TextPair, ...]:
    """Return the verses that both have, in the order of the books; the holder is a book, the unit a chapter of it.

    Raises:
        DataError: if the texts are nowhere on this machine (and, with ``download``, cannot be fetched into the user's
            cache either), are damaged, or ``pysword`` is not installed, with the command.
    """
    find = fetch if download else locate
    files = [find(data) / name for data in (_ENGLISH, _SPANISH) for name in _FILES]
    return cached_pairs(_FORMAT, files, _parse)


def strip_tags(verse: str) -> str:
    """Return a verse without OSIS markup, without notes and headings, and with single spaces."""
    return " ".join(_TAG.sub("", _SILENT.sub(" ", verse)).split())


def _parse(files: Sequence[Path]) -> list[TextPair]:
    english, spanish = (dict(_verses(files[start].parent, system)) for start, system in ((0, "nrsva"), (6, "kjv")))
    pairs = [
        TextPair(text, spanish[place], place[0], f"{place[0]} {place[1]}")
        for place, text in english.items()
        if text and spanish.get(place)
    ]
    if len(pairs) < _LEAST:
        raise DataError(f"{files[0].parent}: expected about 31,000 verses in both languages, got {len(pairs)}")
    return pairs


def _verses(directory: Path, versification: str) -> Iterator[tuple[Place, str]]:
    """Yield ``(book, chapter, verse)`` and text; NRSVA and KJV number alike what both have."""
    try:
        from pysword.bible import SwordBible
    except ImportError as error:
        raise DataError("reading the Bible needs pysword; run `pip install 'fedcomp[translation]'`") from error
    bible: Any = SwordBible(str(directory), "ztext", versification, "utf-8", "OSIS")
    bible._decompressed_text = functools.cache(bible._decompressed_text)  # else it inflates a book for every verse
    for books in bible.get_structure().get_books().values():
        for book in books:
            for chapter in range(1, book.num_chapters + 1):
                texts = bible.get_iter(books=[book.name], chapters=[chapter], clean=False)
                for verse, text in enumerate(texts, 1):
                    yield (book.osis_name, chapter, verse), strip_tags(text)
