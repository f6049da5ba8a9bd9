import subprocess
from pathlib import Path

import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import DebianData, cache_directory, fetch, locate

FILES = ("a.gz", "b.gz")


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDCOMP_DATA", raising=False)
    return DebianData("dataset-things", str(tmp_path / "usr" / "things"), FILES)


def fill(directory: Path, files=FILES) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in files:
        (directory / name).write_text(str(directory))
    return directory


def test_places_are_tried_in_order(data, tmp_path, monkeypatch):
    cached = fill(cache_directory() / "things")
    assert locate(data) == cached
    installed = fill(Path(data.directory))
    assert locate(data) == installed
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path / "mine"))
    assert locate(data) == installed
    below = fill(tmp_path / "mine" / "things")
    assert locate(data) == below
    assert locate(data) != fill(tmp_path / "mine", FILES[:1])  # a directory that lacks a file is passed over
    assert locate(data) == below
    assert fill(tmp_path / "mine") == locate(data)


def test_what_is_missing_is_said_with_the_command(data):
    with pytest.raises(DataError, match=r"apt-get install dataset-things.*--fetch.*a\.gz, b\.gz.*FEDCOMP_DATA"):
        locate(data)


class Apt:
    """Stands for apt-get and dpkg; ``broken`` names the commands that fail, ``unlisted`` a machine without lists."""

    def __init__(self, data, broken=(), unlisted=False):
        self.data, self.broken, self.unlisted, self.calls = data, broken, unlisted, []

    def __call__(self, words, cwd, **_options):
        self.calls.append(words)
        word = "dpkg" if words[0] == "dpkg" else next(word for word in words if word in ("download", "update"))
        own_lists = "-o" in words
        if word in self.broken or (word == "download" and self.unlisted and not own_lists):
            return subprocess.CompletedProcess(words, 100, "", "E: first\nE: Unable to locate package")
        if word == "download":
            (cwd / "dataset-things_1_all.deb").write_text("archive")
        if word == "dpkg":
            fill(Path(words[3]) / self.data.directory.lstrip("/"))
        return subprocess.CompletedProcess(words, 0, "", "")


def test_fetch_fills_the_cache_and_leaves_nothing_else(data, monkeypatch):
    apt = Apt(data)
    monkeypatch.setattr(subprocess, "run", apt)
    assert fetch(data) == cache_directory() / "things"
    assert sorted(path.name for path in cache_directory().iterdir()) == ["things"]
    calls = len(apt.calls)
    assert fetch(data) == cache_directory() / "things"
    assert len(apt.calls) == calls  # a second time nothing is downloaded


def test_files_of_the_same_package_that_another_task_brought_stay_in_the_cache(data, monkeypatch):
    fill(cache_directory() / "things", ("c.gz",))
    monkeypatch.setattr(subprocess, "run", Apt(data))
    assert fetch(data) == cache_directory() / "things"
    assert sorted(path.name for path in (cache_directory() / "things").iterdir()) == [*FILES, "c.gz"]


def test_fetch_makes_its_own_package_list_where_the_machine_has_none(data, monkeypatch):
    apt = Apt(data, unlisted=True)
    monkeypatch.setattr(subprocess, "run", apt)
    fetch(data)
    assert [words[-1] for words in apt.calls[:3]] == ["dataset-things", "update", "dataset-things"]
    state = next(word for word in apt.calls[1] if word.startswith("Dir::State="))
    assert str(cache_directory()) in state  # never the machine's own lists, which need root


@pytest.mark.parametrize("broken", ["download", "update", "dpkg"])
def test_a_command_that_fails_is_named_with_what_it_said(data, monkeypatch, broken):
    monkeypatch.setattr(subprocess, "run", Apt(data, broken=(broken,), unlisted=True))
    with pytest.raises(DataError, match=rf"`.*{broken}.*` failed with exit code 100: E: Unable to locate package"):
        fetch(data)
    assert list(cache_directory().iterdir()) == []


def test_a_machine_without_apt_is_refused_by_name(data, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"needs apt-get, which this machine lacks.*FEDCOMP_DATA"):
        fetch(data)


def test_a_cache_that_cannot_be_written_is_refused_by_name(data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot put dataset-things into"):
        fetch(data)
