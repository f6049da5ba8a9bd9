"""An edge device's state: encrypted, bound to its client, held by one process."""

import contextlib
import os
import stat

import pytest

from contracts.client_state_suite import generation
from fedcomp.crypto import KeyPair
from fedcomp.crypto.at_rest import StorageCipher
from fedcomp.state import DirectoryClientState, StateError
from hardships import disk_full_at, in_children

CIPHER = StorageCipher(KeyPair.generate())


@pytest.fixture
def store(tmp_path):
    with contextlib.closing(DirectoryClientState(tmp_path / "s", CIPHER)) as opened:
        yield opened


def state_files(store) -> list:
    return sorted(store.path.glob("*.state"))


def test_nothing_readable_lies_on_the_disk(store):
    store.save("hospital-berlin", {"secret name": b"secret value", "model": b"m" * 100})
    (file,) = state_files(store)
    content = file.read_bytes()
    for word in (b"secret name", b"secret value", b"mmmm", b"hospital", b"model"):
        assert word not in content
    assert "hospital" not in file.name
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o700


def test_equal_states_do_not_look_equal(store):
    store.save("a", {"x": b"same"})
    store.save("b", {"x": b"same"})
    before = {file.read_bytes() for file in state_files(store)}
    store.save("a", {"x": b"same"})
    after = {file.read_bytes() for file in state_files(store)}
    assert len(before | after) == 3


def test_another_key_is_refused_not_taken_for_an_empty_state(tmp_path):
    with contextlib.closing(DirectoryClientState(tmp_path, CIPHER)) as store:
        store.save("a", generation(1))
    with contextlib.closing(DirectoryClientState(tmp_path, StorageCipher(KeyPair.generate()))) as foreign:
        with pytest.raises(StateError, match=r"state of a in .* is damaged or made with another key"):
            foreign.load("a")
        assert foreign.load("b") == {}
    with contextlib.closing(DirectoryClientState(tmp_path, CIPHER)) as store:
        assert store.load("a") == generation(1)


def test_the_state_of_one_client_is_not_that_of_another(store):
    store.save("a", {"spent": b"1"})
    (of_a,) = state_files(store)
    store.save("b", {"spent": b"9"})
    (of_b,) = set(state_files(store)) - {of_a}
    of_b.write_bytes(of_a.read_bytes())
    assert store.load("a") == {"spent": b"1"}
    with pytest.raises(StateError, match="state of b"):
        store.load("b")


def test_every_flipped_bit_and_every_cut_is_refused(store):
    store.save("a", {"x": b"1", "y": b""})
    (file,) = state_files(store)
    content = file.read_bytes()
    hurt = [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in range(len(content))]
    hurt += [content[:length] for length in range(len(content))] + [content + b"\0", content * 2]
    for damaged in hurt:
        file.write_bytes(damaged)
        with pytest.raises(StateError):
            store.load("a")
    file.write_bytes(content)
    assert store.load("a") == {"x": b"1", "y": b""}


def test_a_second_user_is_refused_here_and_in_another_process(store, tmp_path):
    def second() -> None:
        with pytest.raises(StateError, match="expected to be the only user, another process holds it"):
            DirectoryClientState(store.path, CIPHER)

    second()
    in_children(second)
    store.close()
    in_children(lambda: DirectoryClientState(store.path, CIPHER).save("a", {"x": b"1"}))
    with contextlib.closing(DirectoryClientState(store.path, CIPHER)) as again:
        assert again.load("a") == {"x": b"1"}, "the lock of a process that ended is free"


def test_closing_twice_closes_nobody_elses_file(tmp_path):
    store = DirectoryClientState(tmp_path / "s", CIPHER)
    store.close()
    descriptor = os.open(tmp_path, os.O_RDONLY)  # gets the number that the lock had
    store.close()
    assert os.fstat(descriptor).st_ino == tmp_path.stat().st_ino, "it is still open, and still ours"
    os.close(descriptor)


def test_what_a_killed_save_left_behind_is_swept_up(tmp_path):
    with contextlib.closing(DirectoryClientState(tmp_path, CIPHER)) as store:
        store.save("a", generation(1))
        (file,) = state_files(store)
    (tmp_path / f".{file.name}.abcd1234").write_bytes(b"half")
    (tmp_path / ".ledger.jsonl.abcd1234").write_bytes(b"not ours")
    with contextlib.closing(DirectoryClientState(tmp_path, CIPHER)) as store:
        assert store.load("a") == generation(1)
    assert sorted(item.name for item in tmp_path.iterdir()) == [".ledger.jsonl.abcd1234", file.name, "lock"]


def test_a_full_disk_is_reported_and_the_former_state_is_there(store):
    store.save("a", generation(1))
    with disk_full_at(20_000), pytest.raises(StateError, match=r"cannot write .*: File too large"):
        store.save("a", {"x": b"x" * 100_000})
    assert store.load("a") == generation(1)
    assert len(list(store.path.iterdir())) == 2, "no half of a file is left"


def test_a_state_that_cannot_be_read_is_reported(store):
    store.save("a", {"x": b"1"})
    (file,) = state_files(store)
    file.unlink()
    file.mkdir()
    with pytest.raises(StateError, match=r"state of a in .*: Is a directory"):
        store.load("a")
