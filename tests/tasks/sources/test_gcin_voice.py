import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import DebianData
from fedcomp.tasks.sources import gcin_voice
from fedcomp.tasks.sources.gcin_voice import INITIALS, gcin_recordings


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A folder laid out as the package's, of empty files, where nothing says that there are too few."""
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setattr(gcin_voice, "_LEAST", 1)
    for name, speakers in {"ㄅㄚ": "35", "ㄅㄚ1": "35", "ㄅㄚ4": "35", "ㄚ2": "3", "ㄙㄨㄥ3": "35"}.items():
        folder = tmp_path / "ogg" / name
        folder.mkdir(parents=True)
        for speaker in speakers:
            (folder / f"{speaker}.ogg").touch()
    return tmp_path


def test_folders_tell_sound_tone_and_initial_and_files_the_speaker(directory):
    found = [(each.sound, each.tone, each.initial, each.speaker) for each in gcin_recordings()]
    assert found == [
        ("ㄅㄚ", 0, 1, 0),
        ("ㄅㄚ", 0, 1, 1),
        ("ㄅㄚ", 3, 1, 0),
        ("ㄅㄚ", 3, 1, 1),
        ("ㄙㄨㄥ", 2, 21, 0),
        ("ㄙㄨㄥ", 2, 21, 1),
        ("ㄚ", 1, 0, 0),
    ]


def test_the_neutral_tone_is_left_out(directory):
    assert not [each for each in gcin_recordings() if each.path.parent.name == "ㄅㄚ1"]


def test_there_are_21_initials_in_the_order_of_the_alphabet():
    assert len(INITIALS) == 21
    assert (INITIALS[0], INITIALS[-1]) == ("ㄅ", "ㄙ")


def test_a_damaged_installation_is_refused(directory, monkeypatch):
    monkeypatch.setattr(gcin_voice, "_LEAST", 1000)
    with pytest.raises(DataError, match=r"expected about 2,334 recordings, got 7"):
        gcin_recordings()


def test_missing_data_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FEDCOMP_DATA", raising=False)
    monkeypatch.setattr(gcin_voice, "_DATA", DebianData("gcin-voice", str(tmp_path / "absent"), ("x.ogg",)))
    with pytest.raises(DataError, match="apt-get install gcin-voice"):
        gcin_recordings()
