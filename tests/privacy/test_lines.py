"""One line of a ledger: canonical, hashed, signed, and an error with a name for everything else."""

import hashlib
import json

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.crypto import SigningKey, VerifyingKey
from fedcomp.privacy import Charge, Commit, Entry, LedgerError
from fedcomp.privacy.chain import GENESIS
from fedcomp.privacy.lines import check_signature, read_line

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
CHARGE = Charge(
    "data/example/alice", dp.GaussianDpEvent(1.5), run="r", server_round=3, noise_std=0.1, sensitivity=1 / 15
)
FIRST = Entry.after(None, CHARGE, 1.5, KEY, witness="ab" * 32)
SECOND = Entry.after(FIRST, Charge("data/example/bob", dp.NoOpDpEvent(), run="r", server_round=3), 2.5, KEY)
THIRD = Commit.after(SECOND, FIRST, "cd" * 32, KEY, witness="ef" * 32)
CHAIN = ((FIRST, None), (SECOND, FIRST), (THIRD, SECOND))


@pytest.mark.parametrize(("line", "previous"), CHAIN)
def test_lines_come_back_and_are_signed(line, previous):
    again = read_line(line.to_line(), previous)
    assert again == line
    check_signature(again, KEY)
    check_signature(again, VerifyingKey(KEY.public))
    assert not again.signed_by(OTHER)
    assert FIRST.prev_hash == GENESIS


def test_an_intent_is_what_the_format_says():
    line = FIRST.to_line()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    tree = json.loads(line)
    names = ["charge", "format", "hash", "index", "key", "kind", "prev_hash", "signature", "time", "witness"]
    assert list(tree) == names
    assert (tree["format"], tree["kind"], tree["key"]) == (2, "intent", KEY.public.hex())
    assert tree["charge"]["sensitivity"] == (1 / 15).hex()
    assert tree["charge"]["event"] == {"kind": "gaussian", "noise_multiplier": "0x1.8000000000000p+0"}


def test_a_commit_is_what_the_format_says_and_tells_no_time():
    tree = json.loads(THIRD.to_line())
    names = ["format", "hash", "index", "intent", "intent_hash", "key", "kind", "prev_hash", "released", "signature"]
    assert list(tree) == [*names, "witness"]
    assert (tree["intent"], tree["intent_hash"], tree["released"]) == (0, FIRST.hash, "cd" * 32)


def test_the_signature_is_over_the_hash_and_names_its_purpose():
    content = b"fedcomp ledger 2\n" + FIRST.hash.encode()
    assert KEY.verify(bytes.fromhex(FIRST.signature), content)
    assert not KEY.verify(bytes.fromhex(FIRST.signature), FIRST.hash.encode())


@pytest.mark.parametrize(("line", "previous"), CHAIN)
def test_every_flipped_bit_is_refused(line, previous):
    """Where the signature itself is hit, by the check of signatures alone; else before it."""
    good = line.to_line()
    for at in range(len(good)):
        for bit in range(8):
            hostile = bytearray(good)
            hostile[at] ^= 1 << bit
            with pytest.raises(LedgerError, match=f"ledger entry {line.index}: "):
                check_signature(read_line(bytes(hostile), previous), KEY)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_hostile_lines_raise_ledger_errors_alone(line):
    with pytest.raises(LedgerError):
        read_line(line, None)


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@pytest.mark.parametrize(("line", "previous"), [CHAIN[0], CHAIN[2]])
@settings(deadline=None, max_examples=200)
@given(st.data(), json_values)
def test_wrong_types_raise_ledger_errors_alone(line, previous, data, value):
    """Also with a right hash: whoever writes a line can hash it too, so its content is checked besides."""
    tree = json.loads(line.to_line())
    name = data.draw(st.sampled_from(sorted(tree)))
    if value == tree[name]:
        return
    tree[name] = value
    with pytest.raises(LedgerError, match=f"ledger entry {line.index}"):
        read_line((json.dumps(tree, sort_keys=True, separators=(",", ":")) + "\n").encode(), previous)
    try:
        hashed = rehashed(tree)
    except ValueError:  # NaN has no canonical JSON
        return
    try:
        found = read_line(hashed, previous)
    except LedgerError:
        return
    assert found.to_line() == hashed
    if found != line:  # a wrong hash was made right again
        with pytest.raises(LedgerError, match=r"its signature does not fit|expected the key"):
            check_signature(found, KEY)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(CHARGE.to_json())), json_values)
def test_wrong_charges_with_a_right_hash_raise_ledger_errors_alone(name, value):
    charge = {**CHARGE.to_json(), name: value}
    try:
        line = rehashed({**json.loads(FIRST.to_line()), "charge": charge})
    except ValueError:
        return
    try:
        entry = read_line(line, None)
    except LedgerError:
        return
    assert entry.to_line() == line


@pytest.mark.parametrize(("name", "value"), [("index", True), ("index", 1.0), ("time", 2), ("index", "1")])
def test_what_equals_the_right_value_and_is_written_otherwise_is_refused(name, value):
    hostile = rehashed({**json.loads(Entry.after(FIRST, CHARGE, 2.0, KEY).to_line()), name: value})
    with pytest.raises(LedgerError, match=r"canonical form|expected index 1"):
        read_line(hostile, FIRST)


def rehashed(tree):
    content = {key: value for key, value in tree.items() if key not in ("hash", "signature")}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    whole = {**content, "hash": hashlib.sha256(text.encode()).hexdigest(), "signature": tree["signature"]}
    return (json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


@pytest.mark.parametrize("hostile", [b"[" * 100_000, b'{"format":2,' * 10_000, b"9" * 10_000, b'{"format":NaN}\n'])
def test_deep_and_huge_lines_are_refused(hostile):
    with pytest.raises(LedgerError):
        read_line(hostile, None)


def test_another_format_is_refused_by_its_number():
    with pytest.raises(LedgerError, match="expected format 2, got 1"):
        read_line(FIRST.to_line().replace(b'"format":2', b'"format":1'), None)


def test_a_line_of_another_key_is_refused_within_a_ledger():
    with pytest.raises(LedgerError, match="ledger entry 1: it names another key than the entry before it"):
        read_line(Entry.after(FIRST, CHARGE, 2.0, OTHER).to_line(), FIRST)
    with pytest.raises(LedgerError, match=f"ledger entry 0: expected the key {OTHER.public.hex()[:16]}, got"):
        check_signature(FIRST, OTHER)


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "zz" * 32, "ab" * 33, None, 5])
def test_what_is_no_digest_is_not_committed(digest):
    with pytest.raises(ValueError, match="released must be 32 bytes"):
        Commit.after(FIRST, FIRST, digest, KEY)
    if digest != "":
        with pytest.raises(ValueError, match="witness must be 32 bytes"):
            Entry.after(FIRST, CHARGE, 1.0, KEY, witness=digest)
