"""One line of a ledger: canonical, hashed, and an error with a name for everything else."""

import hashlib
import json

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.privacy import Charge, Entry, LedgerError
from fedcomp.privacy.entry import GENESIS, Details

CHARGE = Charge(
    "data/example/alice", dp.GaussianDpEvent(1.5), run="r", server_round=3, noise_std=0.1, sensitivity=1 / 15
)
FIRST = Entry.after(None, CHARGE, 1.5)
SECOND = Entry.after(FIRST, Charge("data/example/bob", dp.NoOpDpEvent(), run="r", server_round=3), 2.5)


def test_lines_come_back():
    assert FIRST.prev_hash == GENESIS
    assert Entry.from_line(FIRST.to_line(), None) == FIRST
    assert Entry.from_line(SECOND.to_line(), FIRST) == SECOND


def test_the_line_is_what_the_format_says():
    line = FIRST.to_line()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    tree = json.loads(line)
    assert list(tree) == ["charge", "format", "hash", "index", "prev_hash", "time"]
    assert tree["format"] == 1
    assert tree["charge"]["sensitivity"] == (1 / 15).hex()
    assert tree["charge"]["event"] == {"kind": "gaussian", "noise_multiplier": "0x1.8000000000000p+0"}


def test_details_are_the_fields_of_a_charge():
    assert set(Details.__annotations__) == set(Charge.__dataclass_fields__) - {"subject", "event"}


@settings(deadline=None, max_examples=200)
@given(st.text(min_size=1, max_size=50), st.text(max_size=50), st.floats(0, 1e300), st.integers(0, 10**9))
def test_any_charge_comes_back(subject, run, noise_std, server_round):
    charge = Charge(subject, dp.GaussianDpEvent(noise_std), run=run, server_round=server_round, noise_std=noise_std)
    entry = Entry.after(FIRST, charge, 1e9)
    assert Entry.from_line(entry.to_line(), FIRST) == entry


def test_every_flipped_bit_is_refused():
    line = FIRST.to_line()
    for at in range(len(line)):
        for bit in range(8):
            hostile = bytearray(line)
            hostile[at] ^= 1 << bit
            with pytest.raises(LedgerError, match="ledger entry 0"):
                Entry.from_line(bytes(hostile), None)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_hostile_lines_raise_ledger_errors_alone(line):
    with pytest.raises(LedgerError):
        Entry.from_line(line, None)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(json.loads(FIRST.to_line()))), json_values)
def test_wrong_types_raise_ledger_errors_alone(name, value):
    tree = json.loads(FIRST.to_line())
    if value == tree[name]:
        return
    tree[name] = value
    with pytest.raises(LedgerError, match="ledger entry 0"):
        Entry.from_line((json.dumps(tree, sort_keys=True, separators=(",", ":")) + "\n").encode(), None)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(CHARGE.to_json())), json_values)
def test_wrong_charges_with_a_right_hash_raise_ledger_errors_alone(name, value):
    """Whoever writes a line can hash it too: the content is checked besides."""
    charge = {**CHARGE.to_json(), name: value}
    try:
        line = rehashed({**json.loads(FIRST.to_line()), "charge": charge})
    except ValueError:  # NaN has no canonical JSON
        return
    try:
        entry = Entry.from_line(line, None)
    except LedgerError:
        return
    assert entry.to_line() == line


def rehashed(tree):
    content = {key: value for key, value in tree.items() if key != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    whole = {**content, "hash": hashlib.sha256(text.encode()).hexdigest()}
    return (json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


@pytest.mark.parametrize("hostile", [b"[" * 100_000, b'{"format":1,' * 10_000, b"9" * 10_000, b'{"format":NaN}\n'])
def test_deep_and_huge_lines_are_refused(hostile):
    with pytest.raises(LedgerError):
        Entry.from_line(hostile, None)


def test_another_format_is_refused_by_its_number():
    with pytest.raises(LedgerError, match="expected format 1, got 2"):
        Entry.from_line(FIRST.to_line().replace(b'"format":1', b'"format":2'), None)


@pytest.mark.parametrize(
    "change",
    [
        {"subject": ""},
        {"subject": "x" * 2000},
        {"run": 5},
        {"count": 0},
        {"count": True},
        {"count": 1.0},
        {"server_round": -1},
        {"noise_std": -0.1},
        {"noise_std": float("inf")},
        {"sensitivity": float("nan")},
    ],
)
def test_refusals(change):
    details = {"subject": "s", "event": dp.NoOpDpEvent(), "run": "r", "server_round": 1, **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        Charge(**details)
