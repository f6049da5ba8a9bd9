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

from fedcomp.crypto import SigningKey, VerifyingKey
from fedcomp.errors import RunError
from fedcomp.privacy import Charge, Commit, Entry, FileLedger, LedgerError, chain_file, file_ledger
from hardships import SignsAs, flipped

EVENT = dp.GaussianDpEvent(30.0)
KEY, OTHER = SigningKey.generate(), SigningKey.generate()
PROCESS = Path(__file__).with_name("ledger_process.py")
ROOT = Path(__file__).parents[2]


def charge(ledger, server_round, subject="alice"):
    return ledger.compose(subject, EVENT, run="run", server_round=server_round, noise_std=3.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def filled(path):
    """Five charges, of which the first two were committed: lines 0 to 6, where 1 and 3 are commits."""
    ledger = FileLedger(path, KEY)
    for server_round in range(5):
        entry = charge(ledger, server_round)
        if server_round < 2:
            ledger.commit(entry, digest(server_round))
    return path


def digest(number):
    return f"{number:064x}"


def lines_of(path):
    return path.read_bytes().splitlines(keepends=True)


def rehash(lines, edit, signer):
    """Return a chain whose hashes are made anew, with ``edit`` applied to each charge (None: dropped).

    What the owner of a file can do, who has its key; and with ``OTHER``, what somebody can do who has it not.
    """
    made, places = [], {}
    for line in lines:
        previous = made[-1] if made else None
        if isinstance(line, Commit):
            if line.intent in places:
                made.append(Commit.after(previous, places[line.intent], line.released, signer, line.witness))
        elif (edited := edit(line.charge)) is not None:
            made.append(Entry.after(previous, edited, line.time, signer, line.witness))
            places[line.index] = made[-1]
    return made


def write(path, lines):
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.to_line() for line in lines))


CHARGE = Charge("alice", EVENT, run="run", server_round=99)
DAMAGE = {
    "dropped": (lambda lines: [*lines[:2], *lines[3:]], 2),
    "first dropped": (lambda lines: lines[1:], 0),
    "commit dropped": (lambda lines: [*lines[:3], *lines[4:]], 3),
    "repeated": (lambda lines: [*lines[:3], lines[2], *lines[3:]], 3),
    "commit repeated": (lambda lines: [*lines[:4], lines[3], *lines[4:]], 4),
    "reordered": (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 1),
    "last two reordered": (lambda lines: [*lines[:5], lines[6], lines[5]], 5),
    "inserted": (lambda lines: [*lines[:2], Entry.after(None, CHARGE, 1.0, KEY).to_line(), *lines[2:]], 2),
    "noise edited": (
        lambda lines: [*lines[:4], lines[4].replace((3.0).hex().encode(), (9.0).hex().encode()), *lines[5:]],
        4,
    ),
    "subject edited": (lambda lines: [lines[0].replace(b"alice", b"bobby"), *lines[1:]], 0),
    "released edited": (
        lambda lines: [lines[0], lines[1].replace(b'"released":"00', b'"released":"ff'), *lines[2:]],
        1,
    ),
    "empty line": (lambda lines: [*lines[:2], b"\n", *lines[2:]], 2),
    "garbage": (lambda lines: [*lines, b"\xff\xfe\x00\n"], 7),
    "another format": (lambda lines: [lines[0].replace(b'"format":2', b'"format":7'), *lines[1:]], 0),
    "the format before signatures": (lambda lines: [lines[0].replace(b'"format":2', b'"format":1'), *lines[1:]], 0),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_first_broken_entry_is_named_and_training_is_refused(filled, kind):
    """Row 8: a client that cannot load its ledger refuses; it does not go on without one."""
    ledger = FileLedger(filled, KEY)
    damage, index = DAMAGE[kind]
    filled.write_bytes(b"".join(damage(lines_of(filled))))
    before = filled.read_bytes()
    for use in (ledger.verify, lambda: FileLedger(filled, KEY), lambda: charge(FileLedger(filled, KEY), 6)):
        with pytest.raises(LedgerError, match=f"ledger entry {index}:"):
            use()
    assert filled.read_bytes() == before


def test_every_flipped_byte_is_refused(path):
    """All of an intent and its commit; a byte of a signature that is not the last shows when signatures are checked."""
    ledger = FileLedger(path, KEY)
    ledger.commit(charge(ledger, 0), digest(0))
    good, missed = path.read_bytes(), []
    for at in flipped(path):
        said = ""
        try:
            opened = FileLedger(path, KEY)
            missed.append(at)
            opened.verify()
        except LedgerError as error:
            said = str(error)
        assert f"ledger entry {good[:at].count(10)}: " in said
    start_of = good.index(b'"signature":"') + len(b'"signature":"')
    assert missed, "digits that are other digits then"
    assert set(missed) <= set(range(start_of, start_of + 128))
    assert FileLedger(path, KEY).verify() == 1


def test_hashes_made_anew_without_the_key_are_caught_by_the_signature(filled):
    """Noise edited and everything after it hashed again: a chain alone (the control) does not show it."""
    lines = FileLedger(filled).lines()

    def edit(held):
        return Charge("alice", EVENT, run="run", server_round=held.server_round, noise_std=9.0)

    kept = [line.to_line() for line in lines[:2]]
    forged = rehash(lines, edit, OTHER)
    write(filled, forged)
    assert FileLedger(filled).verify() == 5, "whole, as far as hashes show"
    with pytest.raises(LedgerError, match="ledger entry 0: expected the key"):
        FileLedger(filled).verify(verifier=VerifyingKey(KEY.public))
    with pytest.raises(LedgerError, match=f"ledger entry 6: expected the key {KEY.public.hex()[:16]}"):
        FileLedger(filled, KEY)  # who goes on looks at the last line alone
    named = SignsAs(KEY.public, OTHER)
    write(filled, rehash(lines, edit, named))
    with pytest.raises(LedgerError, match="ledger entry 0: its signature does not fit"):
        FileLedger(filled).verify(verifier=KEY)
    with pytest.raises(LedgerError, match="ledger entry 6: its signature does not fit"):
        FileLedger(filled, KEY)
    write(filled, [*kept, *(line.to_line() for line in forged[2:])])
    with pytest.raises(LedgerError, match="ledger entry 2: it does not follow"):
        FileLedger(filled)


def test_what_its_owner_writes_anew_is_caught_only_by_an_anchor(filled):
    """The key's owner can sign anything. The head that somebody else kept shows it; nothing in the file does."""
    ledger = FileLedger(filled, KEY)
    anchor, lines = ledger.head(), ledger.lines()

    def edit(held):
        return held if held.server_round != 2 else None

    write(filled, rehash(lines, edit, KEY))
    rewritten = FileLedger(filled, KEY)
    assert rewritten.verify() == 4  # the chain is whole, and signed
    with pytest.raises(LedgerError, match="no entry has the hash"):
        rewritten.verify(anchor)
    write(filled, lines[:5])  # an older copy was put back
    assert FileLedger(filled, KEY).verify() == 3
    with pytest.raises(LedgerError, match="no entry has the hash"):
        FileLedger(filled, KEY).verify(anchor)


def test_the_same_release_twice_in_a_chain_is_refused(filled):
    lines = FileLedger(filled).lines()
    write(filled, [*lines, Entry.after(lines[-1], lines[2].charge, 1.0, KEY)])
    with pytest.raises(LedgerError, match="ledger entry 7: the same release was charged in entry 2"):
        FileLedger(filled, KEY)


def test_a_commit_in_a_chain_needs_its_intent_and_is_the_only_one(filled):
    lines = FileLedger(filled).lines()
    write(filled, [*lines, Commit.after(lines[-1], lines[2], digest(9), KEY)])
    with pytest.raises(LedgerError, match="ledger entry 7: entry 2 was committed before, in entry 3: a second release"):
        FileLedger(filled, KEY)
    stranger = Entry.after(None, CHARGE, 1.0, KEY)
    write(filled, [*lines, Commit.after(lines[-1], stranger, digest(9), KEY)])
    with pytest.raises(LedgerError, match="ledger entry 7: it commits entry 0, which is no charge with that hash"):
        FileLedger(filled, KEY)
    for intent in (1, 7, 99, -1):  # a commit, itself, nothing, and counted from behind
        line = Commit(index=7, prev_hash=lines[-1].hash, intent=intent, intent_hash=lines[6].hash, released=digest(9))
        write(filled, [*lines, line._signed(KEY)])
        with pytest.raises(LedgerError, match=f"ledger entry 7: it commits entry {intent}, which is no charge"):
            FileLedger(filled, KEY)


def test_without_its_key_a_ledger_is_read_and_not_written(filled):
    ledger, before = FileLedger(filled), sorted(item.name for item in filled.parent.iterdir())
    assert len(ledger.entries()) == ledger.verify() == 5
    assert ledger.public_key() == KEY.public
    for use in (lambda: charge(ledger, 9), lambda: ledger.commit(ledger.entries()[3], digest(3))):
        with pytest.raises(LedgerError, match="opened without its key"):
            use()
    assert sorted(item.name for item in filled.parent.iterdir()) == before


def test_a_ledger_is_not_gone_on_with_under_another_key(filled):
    with pytest.raises(LedgerError, match=f"ledger entry 6: expected the key {OTHER.public.hex()[:16]}"):
        FileLedger(filled, OTHER)


def test_a_writer_notices_a_line_that_another_wrote_without_the_key(filled):
    """Without opening the file again: it looks at the last line before it appends."""
    ledger = FileLedger(filled, KEY)
    lines = ledger.lines()
    write(filled, [*lines, Entry.after(lines[-1], CHARGE, 1.0, SignsAs(KEY.public, OTHER))])
    for use in (lambda: charge(ledger, 7), lambda: ledger.commit(lines[4], digest(2))):
        with pytest.raises(LedgerError, match="ledger entry 7: its signature does not fit"):
            use()


def test_clocks_do_not_matter(path, monkeypatch):
    """They go back, and the order of things stays that of the chain."""
    ledger = FileLedger(path, KEY)
    for server_round, now in enumerate((1e9, 5.0, 2e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        charge(ledger, server_round)
    monkeypatch.undo()
    assert [entry.time for entry in FileLedger(path, KEY).entries()] == [1e9, 5.0, 2e9]
    assert FileLedger(path, KEY).verify() == 3


def test_a_file_that_is_cut_under_an_open_ledger_is_noticed(filled):
    ledger = FileLedger(filled, KEY)
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
    ledger = FileLedger(filled, KEY)
    assert len(ledger.entries()) == 4
    charge(ledger, 4)  # whole but for its newline: kept, and the same release; cut shorter: charged again
    charge(ledger, 5)
    entries = FileLedger(filled, KEY).entries()
    assert [entry.charge.server_round for entry in entries] == [0, 1, 2, 3, 4, 5]
    assert (lines_of(filled)[6] == lines[6]) == (cut == 1)


def test_a_line_torn_in_its_newline_alone_is_charged(filled):
    """Charging too much is safe: if nobody asks for that release again, it still counts."""
    filled.write_bytes(filled.read_bytes()[:-1])
    ledger = FileLedger(filled, KEY)
    charge(ledger, 7)
    assert [entry.charge.server_round for entry in ledger.entries()] == [0, 1, 2, 3, 4, 7]


@pytest.mark.parametrize("tail", [b"{", b"\0" * 600, b'{"charge":{"codec_digest":""', b'{"format":2,"hash":"'])
def test_a_torn_tail_is_cut_off_by_the_next_charge(filled, tail):
    good = filled.read_bytes()
    filled.write_bytes(good + tail)
    ledger = FileLedger(filled, KEY)
    assert filled.read_bytes() == good + tail  # reading changes nothing
    assert ledger.verify() == 5
    charge(ledger, 5)
    assert filled.read_bytes().startswith(good)
    assert FileLedger(filled, KEY).verify() == 6


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(LedgerError, match="cannot read ledger"):
        FileLedger(tmp_path / "folder")
    with pytest.raises(LedgerError, match="cannot lock ledger"):
        charge(FileLedger(tmp_path / "missing" / "ledger.jsonl", KEY), 0)


def test_a_full_disk_charges_nothing_and_releases_nothing(filled, monkeypatch):
    def full(path, line):
        raise RunError(f"cannot append to {path}: No space left on device")

    ledger, before = FileLedger(filled, KEY), filled.read_bytes()
    monkeypatch.setattr(chain_file, "append_synced", full)
    with pytest.raises(RunError, match="No space left"):
        charge(ledger, 5)
    monkeypatch.undo()
    assert filled.read_bytes() == before
    assert charge(ledger, 5).index == 7


def test_an_entry_is_synced_before_compose_returns(path, monkeypatch):
    """The file is synced with the whole line in it, and so is the directory of a new file."""
    synced, fsync = [], os.fsync

    def spy(descriptor):
        fsync(descriptor)
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append((Path(name).name, path.read_bytes().count(b"\n")))

    monkeypatch.setattr(os, "fsync", spy)
    charge(FileLedger(path, KEY), 0)
    assert synced[0] == ("ledger.jsonl", 1)
    assert (path.parent.name, 1) in synced
    del synced[:]
    charge(FileLedger(path, KEY), 1)
    assert synced == [("ledger.jsonl", 2)]


def test_a_charge_costs_the_same_however_long_the_ledger_is(path, monkeypatch):
    """Counted, not timed: lines parsed by one charge."""
    ledger, parsed = FileLedger(path, KEY), []
    for server_round in range(60):
        charge(ledger, server_round)
    original = ledger._file._read
    monkeypatch.setattr(ledger._file, "_read", lambda *args: parsed.append(1) or original(*args))
    charge(ledger, 60)
    assert len(parsed) == 1
    ledger.epsilon("alice", 1e-5)
    ledger.would_exceed("alice", EVENT, 1, BUDGET)
    assert len(parsed) == 1
    monkeypatch.setattr(file_ledger, "read_line", lambda *args: parsed.append(1) or original(*args))
    FileLedger(path, KEY)
    assert len(parsed) == 1 + 61  # what a ledger without memory would do each time


BUDGET = file_ledger.Budget(8.0, 1e-5)


def test_threads_take_turns(path):
    ledger = FileLedger(path, KEY)
    threads = [
        threading.Thread(target=lambda name=name: [charge(ledger, number, name) for number in range(10)])
        for name in ("alice", "bob", "carol")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert FileLedger(path, KEY).verify() == 30


def start(path, *arguments):
    if not path.with_name("ledger.key").exists():
        KEY.save(path.with_name("ledger.key"))
    return subprocess.Popen(
        [sys.executable, str(PROCESS), str(path), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        text=True,
    )


def acknowledged(process):
    """Return the rounds that the process said were charged, and committed; its output is complete: it is dead."""
    with process:
        words = [line.strip() for line in process.stdout]
    charged = [int(word) for word in words if word.isdigit()]
    return charged, [int(word[:-1]) for word in words if word.endswith(".")]


def begin(*processes):
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()


@pytest.mark.parametrize(
    "how", [("half", "intent"), ("half", "commit"), ("fsync", "intent"), ("fsync", "commit"), "any moment"]
)
def test_sigkill_loses_nothing_and_charges_and_commits_nothing_twice(path, how):
    process = start(path, "alice", 0, 100_000, *((*how, 20) if how != "any moment" else ()))
    begin(process)
    if how == "any moment":
        while not path.exists() or path.stat().st_size < 30_000:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    charged, committed = acknowledged(process)
    assert process.returncode == -signal.SIGKILL
    assert len(committed) >= 15
    ledger = FileLedger(path, KEY)
    entries = ledger.entries()
    kept = [entry.charge.server_round for entry in entries]
    commits = [entry.charge.server_round for entry in entries if ledger.commit_of(entry)]
    assert kept[: len(charged)] == charged  # nothing that was acknowledged is lost
    assert commits[: len(committed)] == committed
    assert len(kept) - len(charged) in (0, 1)  # and at most the one in flight is there besides
    assert len(commits) - len(committed) in (0, 1)
    last = len(charged) + 3
    for server_round in range(last):  # everything is asked for again, charged once and committed once
        entry = ledger.compose("alice", EVENT, run="run", server_round=server_round)
        ledger.commit(entry, digest(server_round))
        with pytest.raises(LedgerError, match=f"ledger entry {entry.index}: .* a second release under one charge"):
            ledger.commit(entry, digest(99))
    again = FileLedger(path, KEY)
    assert [entry.charge.server_round for entry in again.entries()] == list(range(last))
    assert len(again.lines()) == 2 * last
    assert again.verify(ledger.head()) == last


def test_two_processes_append_to_one_chain(path):
    """Two writers of their own accounts, and both of one shared account: one entry a release, one chain."""
    first, second = start(path, "alice", 0, 16), start(path, "alice", 8, 24)
    begin(first, second)
    assert acknowledged(first) == (list(range(16)), list(range(16)))
    assert acknowledged(second) == (list(range(8, 24)), list(range(8, 24)))
    ledger = FileLedger(path, KEY)
    assert ledger.verify() == 24
    assert len(ledger.lines()) == 48
    assert sorted(entry.charge.server_round for entry in ledger.entries()) == list(range(24))


def test_writers_without_turns_would_break_the_chain(path):
    """Negative control: two ledgers that read the file, and then both append what follows."""
    charge(FileLedger(path, KEY), 0)
    last = FileLedger(path, KEY).entries()[-1]
    with path.open("ab") as file:
        for server_round in (1, 2):
            made = Charge("alice", EVENT, run="run", server_round=server_round)
            file.write(Entry.after(last, made, 1.0, KEY).to_line())
    with pytest.raises(LedgerError, match="ledger entry 2"):
        FileLedger(path, KEY)
