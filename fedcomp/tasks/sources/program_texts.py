"""What programs say on the screen, in English and German: gettext catalogues of Krita, VLC and LibreOffice."""

import re
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import DebianData, fetch, locate
from fedcomp.tasks.sources.text_pairs import TextPair, cached_pairs

_OFFICE = (
    *("acc", "avmedia", "basctl", "chart", "cnr", "cui", "dba", "dkt", "editeng", "flt", "for", "fps", "frm", "fwk"),
    *("oox", "pcr", "rpt", "sb", "sc", "sca", "scc", "sd", "sfx", "sm", "svl", "svt", "svx", "sw", "uui", "vcl"),
    *("wiz", "wpt", "xsc"),
)
# the last part of each directory names its folder in the user's cache, so that they must differ
_DATA = (
    DebianData("krita-l10n", "/usr/share/locale", ("de/LC_MESSAGES/krita.mo",)),
    DebianData("vlc-l10n", "/usr/share/locale/de", ("LC_MESSAGES/vlc.mo",)),
    DebianData(
        "libreoffice-l10n-de",
        "/usr/lib/libreoffice/program/resource",
        tuple(f"de/LC_MESSAGES/{name}.mo" for name in _OFFICE),
    ),
)
_FORMAT = "program-texts-en-de-v1"  # must change when the parsing does
_LEAST = 25_000

_MAGIC = 0x950412DE
_ACCELERATOR = re.compile(r"[&_~](?=\w)|\(&\w\)|\(~\w\)")
_TAG = re.compile(r"<[^>]*>")
_LETTER = re.compile(r"[^\W\d_]")


def program_pairs(download: bool = False) -> tuple[TextPair, ...]:
    """Return the texts of 35 catalogues, each pair once; the holder is a catalogue, the unit a source text.

    A pair that several catalogues have belongs to the first of them. Texts without a letter, and pairs that are equal
    in both languages, are left out.

    Raises:
        DataError: if a catalogue is nowhere on this machine (and, with ``download``, cannot be fetched into the
            user's cache either), or is damaged.
    """
    find = fetch if download else locate
    return cached_pairs(_FORMAT, [find(data) / name for data in _DATA for name in data.files], _parse)


def plain_text(message: str) -> str:
    """Return a message without the marks of keyboard shortcuts and without tags, with single spaces."""
    return " ".join(_TAG.sub(" ", _ACCELERATOR.sub("", message)).split())


def read_catalogue(content: bytes) -> list[tuple[str, str]]:
    """Return messages and translations of a ``.mo`` file; of a plural both languages' first form and last form.

    Contexts (what stands before ``\\x04``) are dropped, and so is the header, whose message is empty.

    Raises:
        ValueError: if the bytes are not such a file.
    """
    try:
        order = "<" if struct.unpack("<I", content[:4])[0] == _MAGIC else ">"
        magic, revision, count, ids, strings = struct.unpack(f"{order}5I", content[:20])
        if magic != _MAGIC or revision >> 16 > 1:
            raise ValueError(f"expected a gettext catalogue, got magic {magic:#x} and revision {revision:#x}")
        pairs = [(_entry(content, order, ids, row), _entry(content, order, strings, row)) for row in range(count)]
    except struct.error as error:
        raise ValueError(f"expected a gettext catalogue, got one cut short: {error}") from error
    return [both for pair in pairs if pair[0] for both in _forms(*pair)]


def _entry(content: bytes, order: str, table: int, row: int) -> str:
    length, start = struct.unpack_from(f"{order}2I", content, table + 8 * row)
    if start + length > len(content):
        raise ValueError(f"expected a text of {length} bytes at {start}, got a file of {len(content)} bytes")
    return content[start : start + length].decode("utf-8")


def _forms(message: str, translation: str) -> Iterator[tuple[str, str]]:
    messages, translations = message.rpartition("\x04")[2].split("\0"), translation.split("\0")
    yield messages[0], translations[0]
    if len(messages) > 1:
        yield messages[-1], translations[-1]


def _parse(files: Sequence[Path]) -> list[TextPair]:
    found: dict[tuple[str, str], TextPair] = {}
    for file in files:
        try:
            catalogue = read_catalogue(file.read_bytes())
        except ValueError as error:
            raise DataError(f"{file}: {error}") from error
        for pair in catalogue:
            source, target = map(plain_text, pair)
            if source != target and _LETTER.search(source) and _LETTER.search(target):
                found.setdefault((source, target), TextPair(source, target, file.stem, source.lower()))
    if len(found) < _LEAST:
        raise DataError(f"{files[0].parent}: expected about 30,000 texts in both languages, got {len(found)}")
    return list(found.values())
