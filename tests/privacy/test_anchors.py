"""What a server keeps of its clients' ledgers: chained, whole or not at all, and never written over."""

import json

import pytest

from fedcomp.privacy import Anchor, Anchors, LedgerError, Receipt
from fedcomp.privacy.chain import GENESIS, hash_of
from fedcomp.privacy.events import canonical_json
from hardships import flipped


def receipt(number, client="alice"):
    return Receipt(number, client, head=f"{number:064x}", key="ab" * 32, payload=f"{number + 100:064x}")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "anchors.jsonl"


@pytest.fixture
def filled(path):
    anchors = Anchors(path)
    anchors.append([receipt(1), receipt(1, "bob")])
    anchors.append([receipt(2)])
    return path


def test_receipts_come_back_in_order(filled):
    anchors = Anchors(filled)
    assert [one.receipt for one in anchors.lines()] == [receipt(1), receipt(1, "bob"), receipt(2)]
    assert [one.index for one in anchors.lines()] == [0, 1, 2]
    assert anchors.head() == anchors.lines()[-1].hash
    anchors.append([])
    assert len(Anchors(filled).lines()) == 3


def test_nothing_written_has_the_head_of_all_beginnings(path):
    assert Anchors(path).head() == GENESIS
    Anchors(path).append([])
    assert not path.exists()


def test_a_line_is_what_the_format_says_and_tells_no_time(filled):
    tree = json.loads(filled.read_bytes().splitlines()[1])
    names = ["client", "format", "hash", "head", "index", "key", "kind", "payload", "prev_hash", "round"]
    assert list(tree) == names
    assert (tree["format"], tree["kind"], tree["client"], tree["round"]) == (1, "update", "bob", 1)


def test_a_round_that_runs_again_is_written_again(filled):
    Anchors(filled).append([receipt(2)])
    assert [one.receipt.server_round for one in Anchors(filled).lines()] == [1, 1, 2, 2]


def test_every_flipped_byte_is_refused(filled):
    good = filled.read_bytes()
    for at in flipped(filled):
        # the newline of a line before the last one is missed in that line; the very last one tears its line
        with pytest.raises(LedgerError, match=rf"anchors? (entry )?{good[:at].count(10)}: "):
            Anchors(filled)


DAMAGE = {
    "dropped": (lambda lines: [lines[0], lines[2]], 1),
    "repeated": (lambda lines: [*lines[:2], lines[1], lines[2]], 2),
    "reordered": (lambda lines: [lines[1], lines[0], lines[2]], 0),
    "inserted": (lambda lines: [lines[0], Anchor.after(None, receipt(7)).to_line(), *lines[1:]], 1),
    "edited": (lambda lines: [lines[0].replace(b"alice", b"carol"), *lines[1:]], 0),
    "garbage": (lambda lines: [*lines, b"{}\n"], 3),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_first_broken_anchor_is_named(filled, kind):
    damage, index = DAMAGE[kind]
    filled.write_bytes(b"".join(damage(filled.read_bytes().splitlines(keepends=True))))
    with pytest.raises(LedgerError, match=f"anchor {index}: "):
        Anchors(filled)


def test_a_torn_line_is_cut_off_by_the_next(filled):
    good = filled.read_bytes()
    for cut in (1, 40):
        filled.write_bytes(good[:-cut])
        anchors = Anchors(filled)
        assert len(anchors.lines()) == 2
        anchors.append([receipt(3)])
        rounds = [one.receipt.server_round for one in Anchors(filled).lines()]
        assert rounds == ([1, 1, 2, 3] if cut == 1 else [1, 1, 3])


@pytest.mark.parametrize(
    "change",
    [
        {"head": "ab"},
        {"head": None},
        {"key": "AB" * 32},
        {"payload": ""},
        {"server_round": -1},
        {"server_round": True},
        {"client": ""},
        {"client": "x" * 2000},
        {"client": 5},
    ],
)
def test_refusals(change):
    fields = {"server_round": 1, "client": "alice", "head": "ab" * 32, "key": "ab" * 32, "payload": "ab" * 32}
    with pytest.raises(ValueError, match=next(iter(change))):
        Receipt(**{**fields, **change})


@pytest.mark.parametrize(
    ("name", "value"), [("round", "1"), ("round", -1), ("client", 3), ("head", "zz"), ("key", None)]
)
def test_wrong_content_with_a_right_hash_is_refused(path, name, value):
    tree = {**json.loads(Anchor.after(None, receipt(1)).to_line()), name: value}
    path.write_text(canonical_json({**tree, "hash": hash_of(tree)}) + "\n")
    with pytest.raises(LedgerError, match="anchor 0: not an entry"):
        Anchors(path)
