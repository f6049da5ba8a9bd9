"""One SQLite file for all clients of a simulation: shared values, several processes, damage."""

import contextlib
import sqlite3
from functools import partial

import pytest

from contracts.client_state_suite import generation
from fedcomp.state import SqliteClientState, StateError
from hardships import disk_full_at, in_children


def counts(path) -> tuple[int, int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return tuple(
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("entry", "content")
        )


def test_a_thousand_clients_with_one_model_cost_one_copy(tmp_path):
    path, model = tmp_path / "c.sqlite", bytes(range(256)) * 4096
    with contextlib.closing(SqliteClientState(path)) as store:
        store._connection.execute("PRAGMA synchronous=OFF")  # a thousand fsyncs are not what is measured
        for index in range(1000):
            store.save(f"client-{index}", {"model": model, "about": str(index).encode()})
        assert store.load("client-999") == {"model": model, "about": b"999"}
    assert counts(path) == (2000, 1001)
    assert path.stat().st_size < 1.5 * len(model)


def test_values_that_nobody_holds_are_dropped_and_their_room_is_used_again(tmp_path):
    path = tmp_path / "c.sqlite"
    with contextlib.closing(SqliteClientState(path)) as store:
        sizes = []
        for number in range(12):
            value = bytes([number]) * 500_000
            for client in ("a", "b"):
                store.save(client, {"model": value, "same": b"s"})
            store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            sizes.append(path.stat().st_size)
        assert counts(path) == (4, 2)
        store.save("a", {})
        assert counts(path) == (2, 2)
        store.save("b", {})
        assert counts(path) == (0, 0)
    assert sizes[-1] <= 3 * 520_000, sizes


def test_processes_write_different_clients_at_once(tmp_path):
    path = tmp_path / "c.sqlite"

    def work(name: str) -> None:
        store = SqliteClientState(path)
        for number in range(30):
            store.save(name, {**generation(number), "shared": b"x" * 1000})
            if store.load(name) != {**generation(number), "shared": b"x" * 1000}:
                raise AssertionError("another process changed this client")

    names = ["a", "b", "c"]
    in_children(*(lambda name=name: work(name) for name in names))
    with contextlib.closing(SqliteClientState(path)) as store:
        assert all(store.load(name) == {**generation(29), "shared": b"x" * 1000} for name in names)
    assert counts(path) == (12, 4)


def test_processes_may_open_a_file_that_is_not_there_yet_at_once(tmp_path):
    for attempt in range(5):
        path = tmp_path / f"{attempt}.sqlite"
        in_children(*(lambda name=name, path=path: SqliteClientState(path).save(name, {"x": b"1"}) for name in "abcd"))
        assert counts(path) == (4, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE content SET value = x'00'",
        "UPDATE content SET value = 'text'",
        "UPDATE content SET value = 7",
        "DELETE FROM content",
        "UPDATE entry SET hash = x'00'",
    ],
)
def test_an_entry_whose_content_is_not_its_own_is_named(tmp_path, damage):
    path = tmp_path / "c.sqlite"
    with contextlib.closing(SqliteClientState(path)) as store:
        store.save("client-3", {"model": b"m"})
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as vandal:
            vandal.execute(damage)
        with pytest.raises(StateError, match="entry 'model' of client-3 is damaged"):
            store.load("client-3")


@pytest.mark.parametrize("length", [1, 16, 99])
def test_a_file_cut_to_less_than_its_header_is_not_taken_for_a_new_one(tmp_path, length):
    path = tmp_path / "c.sqlite"
    with contextlib.closing(SqliteClientState(path)) as store:
        store.save("a", {"x": b"1"})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StateError, match=f"the file is damaged, it has {length} bytes"):
        SqliteClientState(path)


def test_what_is_no_database_is_refused(tmp_path):
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(StateError, match="file is not a database"):
        SqliteClientState(path)


def test_a_writer_that_does_not_let_go_is_reported(tmp_path):
    path = tmp_path / "c.sqlite"
    with contextlib.closing(SqliteClientState(path, timeout=0.05)) as store:
        store.save("a", {"x": b"1"})
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateError, match="database is locked"):
                store.save("a", {"x": b"2"})
            assert store.load("a") == {"x": b"1"}
            other.execute("ROLLBACK")
        store.save("a", {"x": b"2"})
        assert store.load("a") == {"x": b"2"}


def test_a_full_disk_is_reported_and_the_store_goes_on(tmp_path):
    path = tmp_path / "c.sqlite"
    with contextlib.closing(SqliteClientState(path)) as store:
        store.save("a", generation(1))
        with disk_full_at(200_000), pytest.raises(StateError, match="client states in"):
            store.save("a", {"model": b"m" * 1_000_000})
        assert store.load("a") == generation(1)
        store.save("a", generation(2))
        assert store.load("a") == generation(2)


def test_many_processes_may_make_the_file_at_the_same_moment(tmp_path):
    """SQLite says "locked" at once to whoever switches the log while another does; about 1 open in 70 failed here."""
    for number in range(20):
        in_children(*[partial(save_one, tmp_path / f"{number}.sqlite")] * 6)


def save_one(path):
    SqliteClientState(path).save("a", {"x": b"1"})
