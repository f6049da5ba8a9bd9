"""Every store of client states keeps the contract."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import client_state_suite as suite
from fedcomp.crypto import KeyPair
from fedcomp.crypto.at_rest import StorageCipher
from fedcomp.state import DirectoryClientState, SqliteClientState, StateError
from hardships import in_children

CIPHER = StorageCipher(KeyPair.generate())
OPENERS: dict[str, suite.Opener] = {
    "sqlite": lambda path: SqliteClientState(path / "clients.sqlite"),
    "directory": lambda path: DirectoryClientState(path / "state", CIPHER),
}
STATES = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8), st.binary(max_size=50), max_size=4
)


@pytest.fixture(params=list(OPENERS))
def opener(request: pytest.FixtureRequest) -> suite.Opener:
    return OPENERS[request.param]


@pytest.fixture
def store(opener, tmp_path) -> Iterator[suite.Store]:
    with contextlib.closing(opener(tmp_path)) as opened:
        yield opened


def files(path: Path) -> list[Path]:
    return [item for item in path.rglob("*") if item.is_file()]


def test_a_client_that_saved_nothing_has_an_empty_state(store):
    assert store.load("nobody") == {}


@pytest.mark.parametrize("kind", list(OPENERS))
def test_what_was_saved_comes_back_and_the_last_save_counts(kind, tmp_path):
    with contextlib.closing(OPENERS[kind](tmp_path)) as store:

        @settings(max_examples=25, deadline=None)
        @given(st.sampled_from(["a", "b", "ö"]), STATES)
        def check(client: str, state: dict[str, bytes]) -> None:
            others = {other: store.load(other) for other in ("a", "b", "ö") if other != client}
            store.save(client, state)
            assert store.load(client) == state
            assert {other: store.load(other) for other in others} == others

        check()


def test_a_save_replaces_the_whole_state(store):
    store.save("a", {"x": b"1", "y": b"2"})
    store.save("a", {"y": b"3", "z": b""})
    assert store.load("a") == {"y": b"3", "z": b""}
    store.save("a", {})
    assert store.load("a") == {}


def test_entries_may_swap_their_values_and_share_them(store):
    store.save("a", {"x": b"1", "y": b"2", "z": b"2"})
    store.save("a", {"x": b"2", "y": b"1", "z": b"1"})
    assert store.load("a") == {"x": b"2", "y": b"1", "z": b"1"}
    store.save("b", {"x": b"2"})
    store.save("a", {})
    assert store.load("b") == {"x": b"2"}, "a value that another client holds stays"


def test_a_state_outlives_the_process(opener, tmp_path):
    in_children(lambda: opener(tmp_path).save("a", suite.generation(7)))
    with contextlib.closing(opener(tmp_path)) as store:
        assert store.load("a") == suite.generation(7)


def test_a_state_stays_where_the_store_is(opener, tmp_path):
    place = tmp_path / "a" / "b"
    place.mkdir(parents=True)
    with contextlib.closing(opener(place)) as store:
        for name in ("../../escaped", "/tmp/escaped", "a/../../../escaped", "", ".", "..", "\0", "x" * 5000):
            store.save(name, {"of": name.encode()})
            assert store.load(name) == {"of": name.encode()}
        assert all(place in item.parents for item in files(tmp_path))
        assert not [item for item in tmp_path.rglob("*") if "escaped" in item.name]
    assert not Path("/tmp/escaped").exists()


def test_a_kill_leaves_the_old_state_or_the_new_one(opener, tmp_path):
    last = 0
    with contextlib.closing(opener(tmp_path)) as store:
        store.save("client", suite.generation(last))
        store.save("bystander", suite.generation(99))
    for attempt in range(10):
        finished = suite.killed_while_saving(opener, tmp_path, last + 1, 0.004 * attempt)
        with contextlib.closing(opener(tmp_path)) as store:
            found = suite.whole_generation(store.load("client"))
            assert store.load("bystander") == suite.generation(99)
        assert found in (finished % 251, (finished + 1) % 251), "a save that returned is there, at most one more began"
        last = finished if found == finished % 251 else finished + 1
    assert last >= 10, "in each attempt something was saved before the kill"


def test_a_torn_state_would_be_noticed():
    torn = {**suite.generation(3), "model": suite.generation(4)["model"]}
    assert suite.whole_generation(suite.generation(3)) == 3
    for state in (torn, {}, {"about": b"\3"}, {**suite.generation(3), "reply": suite.generation(3)["reply"][:-1]}):
        assert suite.whole_generation(state) is None


def contents(path: Path) -> list[Path]:
    """Return the files that hold states; not locks, and not the index of SQLite's log, which is made again."""
    return [item for item in files(path) if item.name != "lock" and not item.name.endswith("-shm")]


def load_or_refuse(opener: suite.Opener, path: Path) -> dict[str, bytes] | None:
    try:
        with contextlib.closing(opener(path)) as store:
            return store.load("client")
    except StateError:
        return None


@pytest.mark.parametrize("damage", ["flip", "cut", "zero"])
def test_a_damaged_state_is_refused_and_never_taken_for_an_empty_one(opener, tmp_path, damage):
    (tmp_path / "sound").mkdir()
    with contextlib.closing(opener(tmp_path / "sound")) as store:
        store.save("client", suite.generation(5))
    (file,) = contents(tmp_path / "sound")
    content, refused = file.read_bytes(), 0
    places = [int(len(content) * share) for share in (0.0, 0.3, 0.5, 0.7, 0.9)] + [40, len(content) - 1]
    for place in places:
        shutil.rmtree(tmp_path / "hurt", ignore_errors=True)
        shutil.copytree(tmp_path / "sound", tmp_path / "hurt")
        hurt = bytearray(content)
        if damage == "cut":
            hurt = hurt[: max(1, place)]
        else:
            end = place + 1 if damage == "flip" else place + 64
            hurt[place:end] = bytes(value ^ 0x20 if damage == "flip" else 0 for value in hurt[place:end])
        (tmp_path / "hurt" / file.relative_to(tmp_path / "sound")).write_bytes(hurt)
        found = load_or_refuse(opener, tmp_path / "hurt")
        assert found in (None, suite.generation(5)), f"{damage} at {place} of {len(content)} went unnoticed"
        refused += found is None
    assert refused >= 2, "no damage reached what was stored"


def test_a_failed_save_leaves_the_former_state(store, monkeypatch):
    store.save("client", suite.generation(1))
    with pytest.raises((StateError, TypeError)):
        store.save("client", {**suite.generation(2), "reply": 3})  # type: ignore[dict-item]
    assert store.load("client") == suite.generation(1)
    store.save("client", suite.generation(2))
    assert store.load("client") == suite.generation(2)


def test_a_place_that_cannot_be_written_is_refused_in_words(opener, tmp_path):
    occupied = tmp_path / "occupied"
    occupied.write_bytes(b"")
    with pytest.raises(StateError, match="occupied"):
        opener(occupied)


def test_after_closing_nothing_is_saved(opener, tmp_path):
    store = opener(tmp_path)
    store.save("a", {"x": b"1"})
    store.close()
    store.close()
    with pytest.raises(StateError):
        store.save("a", {"x": b"2"})
    with contextlib.closing(opener(tmp_path)) as again:
        assert again.load("a") == {"x": b"1"}
