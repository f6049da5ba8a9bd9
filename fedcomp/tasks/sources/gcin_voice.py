"""Spoken Mandarin syllables that ship for an input method: the Debian package ``gcin-voice``, two voices."""

from dataclasses import dataclass
from pathlib import Path

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import DebianData, fetch, locate

INITIALS = "".join(map(chr, range(0x3105, 0x311A)))
"""The 21 consonants that a syllable can start with, in Bopomofo."""

_SPEAKERS = ("3.ogg", "5.ogg")
_DATA = DebianData(
    package="gcin-voice",
    directory="/usr/share/gcin-voice",
    # one syllable stands for all: the package has 1,200 folders of one or two files
    files=tuple(f"ogg/\u3105\u311a/{speaker}" for speaker in _SPEAKERS),
)
_TONES = {"2": 1, "3": 2, "4": 3}
_NEUTRAL = "1"
_LEAST = 1000


@dataclass(frozen=True)
class Recording:
    """One syllable by one voice.

    ``sound`` is what is said without its tone, in Bopomofo; ``tone`` is 0 to 3; ``initial`` is 0 where the syllable
    starts with a vowel, or the place in ``INITIALS`` plus 1; ``speaker`` is 0 or 1.
    """

    path: Path
    sound: str
    tone: int
    speaker: int

    @property
    def initial(self) -> int:
        """Return the number of the syllable's first consonant."""
        return INITIALS.find(self.sound[0]) + 1


def gcin_recordings(download: bool = False) -> tuple[Recording, ...]:
    """Return the recordings, sorted by syllable and speaker: 2,334, without the 24 of the neutral tone.

    Speakers: Edward Der-Hua Liu (1,187; GPL-3 or LGPL-3) and Chu Lo (1,147; CC-BY-3).

    Raises:
        DataError: if they are nowhere on this machine (and, with ``download``, cannot be fetched into the user's cache
            either), or most of them are missing.
    """
    directory = (fetch if download else locate)(_DATA) / "ogg"
    folders = sorted(each for each in directory.iterdir() if each.is_dir() and each.name[-1] != _NEUTRAL)
    found = tuple(
        Recording(folder / name, folder.name.rstrip("234"), _TONES.get(folder.name[-1], 0), speaker)
        for folder in folders
        for speaker, name in enumerate(_SPEAKERS)
        if (folder / name).is_file()
    )
    if len(found) < _LEAST:
        raise DataError(f"{directory}: expected about 2,334 recordings, got {len(found)}")
    return found
