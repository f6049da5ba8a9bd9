"""The file of a ledger: torn, damaged, cut, killed in the middle, and shared by several writers."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import dp_accounting as dp
import pytest

from fedcomp.errors import RunError
from fedcomp.privacy import Charge, Entry, FileLedger, LedgerError, file_ledger

EVENT = dp.GaussianDpEvent(30.0)
PROCESS = Path(__file__).with_name("ledger_process.py")
ROOT = Path(__file__).parents[2]


def charge(ledger, server_round, subject="alice"):
    return ledger.compose(subject, EVENT, run="run", server_round=server_round, noise_std=3.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def filled(path):
    ledger = FileLedger(path)
    for server_round in range(5):
        charge(ledger, server_round)
    return path


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def rehash_from(entries, start):
    """Return the lines of a chain whose hashes are made anew from ``start`` on: what the owner of a file can do."""
    lines, previous = [], None
    for entry in entries:
        previous = Entry.after(previous, entry.charge, entry.time) if entry.index >= start else entry
        lines.append(previous.to_line())
    return lines


DAMAGE = {
    "dropped": (lambda lines: [*lines[:2], *lines[3:]], 2),
    "first dropped": (lambda lines: lines[1:], 0),
    "repeated": (lambda lines: [*lines[:3], lines[2], *lines[3:]], 3),
    "reordered": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 1),
    "inserted": (lambda lines: [*lines[:2], Entry.after(None, CHARGE, 1.0).to_line(), *lines[2:]], 2),
    "noise edited": (
        lambda lines: [*lines[:3], lines[3].replace((3.0).hex().encode(), (9.0).hex().encode()), lines[4]],
        3,
    ),
    "subject edited": (lambda lines: [lines[0].replace(b"alice", b"bobby"), *lines[1:]], 0),
    "empty line": (lambda lines: [*lines[:2], b"\n", *lines[2:]], 2),
    "garbage": (lambda lines: [*lines, b"\xff\xfe\x00\n"], 5),
    "another format": (lambda lines: [lines[0].replace(b'"format":1', b'"format":7'), *lines[1:]], 0),
}
CHARGE = Charge("alice", EVENT, run="run", server_round=99)


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_first_broken_entry_is_named_and_training_is_refused(filled, kind):
    """Row 8: a client that cannot load its ledger refuses; it does not go on without one."""
    ledger = FileLedger(filled)
    damage, index = DAMAGE[kind]
    filled.write_bytes(b"".join(damage(lines_of(filled))))
    before = filled.read_bytes()
    for use in (ledger.verify, lambda: FileLedger(filled), lambda: charge(FileLedger(filled), 6)):
        with pytest.raises(LedgerError, match=f"ledger entry {index}:"):
            use()
    assert filled.read_bytes() == before


def test_every_flipped_byte_is_refused(path):
    ledger = FileLedger(path)
    for server_round in range(2):
        charge(ledger, server_round)
    good = path.read_bytes()
    for at in range(good.index(b"\n") - 2, len(good)):  # every byte of the last line, and the newline before it
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x01]) + good[at + 1 :])
        with pytest.raises(LedgerError):
            FileLedger(path)
    path.write_bytes(good)
    assert FileLedger(path).verify() == 2


def test_a_chain_that_is_hashed_anew_is_caught_only_by_an_anchor(filled):
    """What a chain cannot show by itself: its owner rewrites it. The head that somebody else kept shows it."""
    ledger = FileLedger(filled)
    anchor, entries = ledger.head(), ledger.entries()
    kept = [entry for entry in entries if entry.charge.server_round != 2]
    filled.write_bytes(b"".join(rehash_from(kept, 0)))
    rewritten = FileLedger(filled)
    assert rewritten.verify() == 4  # the chain is whole
    with pytest.raises(LedgerError, match="no entry has the hash"):
        rewritten.verify(anchor)
    filled.write_bytes(b"".join(entry.to_line() for entry in entries[:3]))  # an older copy was put back
    with pytest.raises(LedgerError, match="no entry has the hash"):
        FileLedger(filled).verify(anchor)


def test_the_same_release_twice_in_a_chain_is_refused(filled):
    again = Entry.after(FileLedger(filled).entries()[-1], FileLedger(filled).entries()[2].charge, 1.0)
    filled.write_bytes(filled.read_bytes() + again.to_line())
    with pytest.raises(LedgerError, match="ledger entry 5: the same release was charged in entry 2"):
        FileLedger(filled)


def test_a_file_that_is_cut_under_an_open_ledger_is_noticed(filled):
    ledger = FileLedger(filled)
    filled.write_bytes(b"".join(lines_of(filled)[:3]))
    for use in (lambda: charge(ledger, 6), lambda: ledger.epsilon("alice", 1e-5), ledger.entries):
        with pytest.raises(LedgerError, match="it was cut"):
            use()
    filled.unlink()
    with pytest.raises(LedgerError, match="it was cut"):
        charge(ledger, 6)


@pytest.mark.parametrize("cut", [1, 2, 100, 500])
def test_a_torn_last_line_was_never_acknowledged(filled, cut):
    lines = lines_of(filled)
    filled.write_bytes(b"".join(lines)[:-cut])
    ledger = FileLedger(filled)
    assert len(ledger.entries()) == 4
    charge(ledger, 4)  # whole but for its newline: kept, and the same release; cut shorter: charged again
    charge(ledger, 5)
    entries = FileLedger(filled).entries()
    assert [entry.charge.server_round for entry in entries] == [0, 1, 2, 3, 4, 5]
    assert (lines_of(filled)[4] == lines[4]) == (cut == 1)


def test_a_line_torn_in_its_newline_alone_is_charged(filled):
    """Charging too much is safe: if nobody asks for that release again, it still counts."""
    filled.write_bytes(filled.read_bytes()[:-1])
    ledger = FileLedger(filled)
    charge(ledger, 7)
    assert [entry.charge.server_round for entry in ledger.entries()] == [0, 1, 2, 3, 4, 7]


@pytest.mark.parametrize("tail", [b"{", b"\0" * 600, b'{"charge":{"codec_digest":""'])
def test_a_torn_tail_is_cut_off_by_the_next_charge(filled, tail):
    good = filled.read_bytes()
    filled.write_bytes(good + tail)
    ledger = FileLedger(filled)
    assert filled.read_bytes() == good + tail  # reading changes nothing
    assert ledger.verify() == 5
    charge(ledger, 5)
    assert filled.read_bytes().startswith(good)
    assert FileLedger(filled).verify() == 6


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="cannot read ledger"):
        FileLedger(tmp_path / "folder")
    with pytest.raises(LedgerError, match="cannot lock ledger"):
        charge(FileLedger(tmp_path / "missing" / "ledger.jsonl"), 0)


def test_a_full_disk_charges_nothing_and_releases_nothing(filled, monkeypatch):
    def full(path, line):
        raise RunError(f"cannot append to {path}: No space left on device")

    ledger, before = FileLedger(filled), filled.read_bytes()
    monkeypatch.setattr(file_ledger, "append_synced", full)
    with pytest.raises(RunError, match="No space left"):
        charge(ledger, 5)
    monkeypatch.undo()
    assert filled.read_bytes() == before
    assert charge(ledger, 5).index == 5


def test_an_entry_is_synced_before_compose_returns(path, monkeypatch):
    """The file is synced with the whole line in it, and so is the directory of a new file."""
    synced, fsync = [], os.fsync

    def spy(descriptor):
        fsync(descriptor)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((Path(name).name, path.read_bytes().count(b"\n")))

    monkeypatch.setattr(os, "fsync", spy)
    charge(FileLedger(path), 0)
    assert synced[0] == ("ledger.jsonl", 1)
    assert (path.parent.name, 1) in synced
    del synced[:]
    charge(FileLedger(path), 1)
    assert synced == [("ledger.jsonl", 2)]


def test_a_charge_costs_the_same_however_long_the_ledger_is(path, monkeypatch):
    """Counted, not timed: lines parsed by one charge."""
    ledger, parsed = FileLedger(path), []
    for server_round in range(60):
        charge(ledger, server_round)
    original = Entry.from_line.__func__
    monkeypatch.setattr(Entry, "from_line", classmethod(lambda cls, *args: parsed.append(1) or original(cls, *args)))
    charge(ledger, 60)
    assert len(parsed) == 1
    ledger.epsilon("alice", 1e-5)
    ledger.would_exceed("alice", EVENT, 1, BUDGET)
    assert len(parsed) == 1
    FileLedger(path)
    assert len(parsed) == 1 + 61  # what a ledger without memory would do each time


BUDGET = file_ledger.Budget(8.0, 1e-5)


def test_threads_take_turns(path):
    ledger = FileLedger(path)
    threads = [
        threading.Thread(target=lambda name=name: [charge(ledger, number, name) for number in range(10)])
        for name in ("alice", "bob", "carol")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert FileLedger(path).verify() == 30


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, str(PROCESS), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
    )


def acknowledged(process):
    """Return the rounds that the process said were charged; its output is complete, because it is dead."""
    with process:
        return [int(line) for line in process.stdout if line.strip().isdigit()]


def begin(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


@pytest.mark.parametrize("how", ["half", "fsync", "any moment"])
def test_sigkill_loses_nothing_and_charges_nothing_twice(path, how):
    process = start(path, "alice", 0, 100_000, *((how, 20) if how != "any moment" else ()))
    begin(process)
    if how == "any moment":
        while not path.exists() or path.stat().st_size < 20_000:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    done = acknowledged(process)
    assert process.returncode == -signal.SIGKILL
    assert len(done) >= 20
    ledger = FileLedger(path)
    kept = [entry.charge.server_round for entry in ledger.entries()]
    assert kept[: len(done)] == done  # nothing that was acknowledged is lost
    assert len(kept) - len(done) in (0, 1)  # and at most the one in flight is there besides
    for server_round in range(len(done) + 3):  # everything is asked for again, and charged once
        charge_like_the_process(ledger, server_round)
    assert [entry.charge.server_round for entry in FileLedger(path).entries()] == list(range(len(done) + 3))


def charge_like_the_process(ledger, server_round):
    return ledger.compose("alice", EVENT, run="run", server_round=server_round)


def test_two_processes_append_to_one_chain(path):
    """Two writers of their own accounts, and both of one shared account: one entry a release, one chain."""
    first, second = start(path, "alice", 0, 30), start(path, "alice", 15, 45)
    begin(first, second)
    assert acknowledged(first) == list(range(30))
    assert acknowledged(second) == list(range(15, 45))
    ledger = FileLedger(path)
    assert ledger.verify() == 45
    assert sorted(entry.charge.server_round for entry in ledger.entries()) == list(range(45))


def test_writers_without_turns_would_break_the_chain(path):
    """Negative control: two ledgers that read the file, and then both append what follows."""
    charge(FileLedger(path), 0)
    last = FileLedger(path).entries()[-1]
    with path.open("ab") as file:
        for server_round in (1, 2):
            file.write(Entry.after(last, Charge("alice", EVENT, run="run", server_round=server_round), 1.0).to_line())
    with pytest.raises(LedgerError, match="ledger entry 2"):
        FileLedger(path)
