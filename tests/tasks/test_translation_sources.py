"""Texts in two languages: read from made files, kept in the cache, and, where they are installed, the real ones."""

import struct

import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.sources import program_texts
from fedcomp.tasks.sources.bible import bible_pairs, strip_tags
from fedcomp.tasks.sources.program_texts import plain_text, program_pairs, read_catalogue
from fedcomp.tasks.sources.text_pairs import TextPair, cached_pairs


def catalogue(entries, order="<"):
    """Return a ``.mo`` file of messages and translations."""
    texts = [text.encode() for column in zip(*entries, strict=True) for text in column]
    start = 28 + 8 * len(texts)
    table = b""
    for text in texts:
        table += struct.pack(f"{order}2I", len(text), start)
        start += len(text) + 1
    header = struct.pack(f"{order}7I", 0x950412DE, 0, len(entries), 28, 28 + 4 * len(texts), 0, 0)
    return header + table + b"".join(text + b"\0" for text in texts)


ENTRIES = [
    ("", "Content-Type: text/plain; charset=UTF-8\n"),
    ("&File", "&Datei"),
    ("menu\x04~Open <b>now</b>", "Jetzt ö~ffnen"),
    ("%1 page\0%1 pages", "%1 Seite\0%1 Seiten"),
]


@pytest.mark.parametrize("order", ["<", ">"])
def test_catalogues_are_read_without_header_and_contexts_and_with_plurals(order):
    assert read_catalogue(catalogue(ENTRIES, order)) == [
        ("&File", "&Datei"),
        ("~Open <b>now</b>", "Jetzt ö~ffnen"),
        ("%1 page", "%1 Seite"),
        ("%1 pages", "%1 Seiten"),
    ]


def test_what_is_no_catalogue_is_refused():
    with pytest.raises(ValueError, match="expected a gettext catalogue, got magic"):
        read_catalogue(b"x" * 40)
    for length in (0, 3, 19, 30):
        with pytest.raises(ValueError, match="expected a gettext catalogue, got one cut short"):
            read_catalogue(catalogue(ENTRIES)[:length])
    with pytest.raises(ValueError, match=r"expected a text of .* bytes"):
        read_catalogue(catalogue(ENTRIES)[:-12])


def test_shortcuts_and_tags_are_taken_out():
    assert plain_text("&File (&F)") == "File"
    assert plain_text("~Open <b>now</b>\n  please") == "Open now please"
    assert plain_text("black & white, R&D") == "black & white, RD"


def test_verses_lose_notes_and_headings_and_keep_words():
    verse = (
        '<title level="1">Genesis</title><div sID="g" type="x-p"/><w lemma="strong:H0430">God</w> '
        '<w lemma="strong:H0559">said</w>,<note placement="foot"><reference>1:3 </reference>or, spoke</note> “Let'
        ' <milestone n="x"/>there be <q marker="">light</q>” '
    )
    assert strip_tags(verse) == "God said, “Let there be light”"


def test_pairs_are_parsed_once_and_a_damaged_cache_is_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, asked = tmp_path / "text", []
    file.write_text("one")

    def parse(files):
        asked.append(files)
        return [TextPair("a", "ä", "book", files[0].read_text())]

    assert (
        cached_pairs("v1", [file], parse) == cached_pairs("v1", [file], parse) == (TextPair("a", "ä", "book", "one"),)
    )
    assert len(asked) == 1
    (kept,) = (tmp_path / "cache").rglob("*.json")
    for damage in ("[[1", '[["a"]]', "3"):
        kept.write_text(damage)
        assert cached_pairs("v1", [file], parse)[0].target == "ä"
    assert len(asked) == 4
    file.write_text("two")
    assert cached_pairs("v1", [file], parse)[0].unit == "two"


def test_a_damaged_catalogue_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    for data in program_texts._DATA:
        for name in data.files:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(catalogue(ENTRIES))
    with pytest.raises(DataError, match="expected about 30,000 texts in both languages, got 4"):
        program_pairs()
    (tmp_path / "de/LC_MESSAGES/sw.mo").write_bytes(b"no catalogue at all, and no magic")
    with pytest.raises(DataError, match=r"sw\.mo: expected a gettext catalogue"):
        program_pairs()


def test_missing_texts_are_refused_with_the_command(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "FEDCOMP_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    if not any(place.exists() for place in (program_texts._DATA[0].installed() / "de/LC_MESSAGES/krita.mo",)):
        with pytest.raises(DataError, match="sudo apt-get install krita-l10n"):
            program_pairs()


def installed(pairs):
    try:
        return pairs()
    except DataError as error:
        pytest.skip(str(error))


def test_the_bible_has_66_books_and_its_verses_belong_together():
    pytest.importorskip("pysword")
    pairs = installed(bible_pairs)
    assert len(pairs) == 31_077
    assert len({pair.holder for pair in pairs}) == 66
    assert len({pair.unit for pair in pairs}) == 1_189
    assert pairs[0] == TextPair(
        "In the beginning, God created the heavens and the earth.",
        "EN el principio crió Dios los cielos y la tierra.",
        "Gen",
        "Gen 1",
    )
    (wept,) = [pair for pair in pairs if pair.source == "Jesus wept."]
    assert (wept.target, wept.unit) == ("Y lloró Jesús.", "John 11")
    assert not any("<" in pair.source + pair.target for pair in pairs)


def test_the_catalogues_of_three_programs():
    pairs = installed(program_pairs)
    assert len({pair.holder for pair in pairs}) == 35
    assert len({(pair.source, pair.target) for pair in pairs}) == len(pairs) > 25_000
    assert TextPair("Krita will quit now.", "Krita wird jetzt beendet.", "krita", "krita will quit now.") in pairs
