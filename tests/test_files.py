"""Files survive kills, full disks and each other."""

import os
import stat
from pathlib import Path

import pytest

from fedcomp import files
from fedcomp.errors import RunError
from fedcomp.files import append_synced, write_atomic
from hardships import disk_full_at, in_children, killed_while


def names(path: Path) -> list[str]:
    return sorted(item.name for item in path.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "a.bin"
    for content in (b"one", b"", b"x" * 100_000):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert names(tmp_path) == ["a.bin"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "keys rely on this"


def test_content_is_on_disk_before_it_is_renamed_and_the_name_after(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        seen.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        seen.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_atomic(tmp_path / "a", b"x")
    assert seen == ["file", "rename", "directory"]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path, careless = tmp_path / "a", tmp_path / "careless"
    for file in (path, careless):
        file.write_bytes(b"old")
    with disk_full_at(4096):
        with pytest.raises(RunError, match=f"cannot write {path}: File too large"):
            write_atomic(path, b"n" * 8192)
        with pytest.raises(OSError, match="File too large"):
            careless.write_bytes(b"n" * 8192)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a", "careless"]
    assert careless.read_bytes() != b"old", "the control: writing in place loses the old file"


def test_an_interrupt_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomic(path, b"old")

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_directory_that_is_not_there_is_reported(tmp_path):
    with pytest.raises(RunError, match=r"cannot write .*: No such file or directory"):
        write_atomic(tmp_path / "none" / "a", b"x")
    with pytest.raises(RunError, match=r"cannot append to .*: No such file or directory"):
        append_synced(tmp_path / "none" / "a", b"x")


def test_a_kill_leaves_the_old_or_the_new_file(tmp_path):
    path = tmp_path / "a"
    contents = [bytes([value]) * 300_000 for value in range(3)]
    write_atomic(path, contents[0])

    for attempt in range(12):
        killed_while(lambda number: write_atomic(path, contents[number % 3]), 0.003 * attempt)
        assert path.read_bytes() in contents


def test_a_kill_leaves_whole_lines_and_at_most_one_torn_last_one(tmp_path):
    path = tmp_path / "log"
    line = b"x" * 5000 + b"\n"
    for attempt in range(6):
        last = killed_while(lambda number: append_synced(path, line), 0.004 * attempt)
        *whole, torn = path.read_bytes().split(b"\n")
        assert set(whole) == {line[:-1]}
        assert last + 1 <= len(whole) <= last + 2, "every line that was reported is there"
        assert line.startswith(torn)
        path.unlink()


def test_lines_are_appended_and_synced(tmp_path, monkeypatch):
    path = tmp_path / "log"
    synced = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), fsync(descriptor))
    )
    directories = []
    monkeypatch.setattr(files, "sync_directory", directories.append)
    append_synced(path, b"one\n")
    append_synced(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert synced == [4, 8], "each line is synced when it is in the file whole"
    assert directories == [tmp_path], "a new file's name must survive a power cut too"


def test_a_line_that_does_not_fit_is_taken_back(tmp_path):
    path = tmp_path / "log"
    append_synced(path, b"one\n")
    with disk_full_at(4096):
        with pytest.raises(RunError, match=r"wrote 4092 of 5000 bytes, disk full\?"):
            append_synced(path, b"x" * 5000)
        assert path.read_bytes() == b"one\n"
        with path.open("ab", buffering=0) as careless:
            assert careless.write(b"x" * 5000) == 4092
    assert path.read_bytes() != b"one\n", "the control: without taking it back, half a line stays"


def test_taking_back_never_takes_what_another_writer_appended(tmp_path, monkeypatch):
    path = tmp_path / "log"
    append_synced(path, b"one\n")
    real_open = Path.open

    def slow_open(self: Path, *args, **options):
        file = real_open(self, *args, **options)
        with real_open(path, "ab") as other:
            other.write(b"charged elsewhere\n")
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", slow_open)
        with disk_full_at(4096), pytest.raises(RunError, match="disk full"):
            append_synced(path, b"x" * 5000)
    assert path.read_bytes() == b"one\ncharged elsewhere\n"


def test_two_processes_append_whole_lines(tmp_path):
    path = tmp_path / "log"
    lines = [bytes([letter]) * 3000 + b"\n" for letter in b"ab"]

    def work(line: bytes) -> None:
        for _ in range(40):
            append_synced(path, line)

    in_children(*(lambda line=line: work(line) for line in lines))
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines * 40)
