"""A ledger and its key: made once, whoever comes first, and never replaced."""

import stat

import dp_accounting as dp
import pytest

from fedcomp.crypto import KeyFileError, SigningKey
from fedcomp.flower.ledgers import KEY_NAME, digest_in, open_ledger
from fedcomp.flower.messages import Frame, MessageError
from fedcomp.privacy import FileLedger, LedgerError
from hardships import in_children


def charge(ledger, number, subject="alice"):
    entry = ledger.compose(subject, dp.GaussianDpEvent(30.0), run="run", server_round=number)
    return ledger.commit(entry, f"{number:064x}")


def test_a_new_ledger_gets_a_key_that_nobody_else_may_read(tmp_path):
    path = tmp_path / "ledger.jsonl"
    charge(open_ledger(path), 1)
    assert stat.S_IMODE((tmp_path / KEY_NAME).stat().st_mode) == 0o600
    key = SigningKey.load(tmp_path / KEY_NAME)
    assert open_ledger(path).public_key() == key.public
    charge(open_ledger(path), 2)
    assert FileLedger(path).verify(verifier=key) == 2


def test_the_key_may_lie_elsewhere(tmp_path):
    path, key = tmp_path / "ledger.jsonl", tmp_path / "safe" / "a.key"
    key.parent.mkdir()
    charge(open_ledger(path, key), 1)
    assert not (tmp_path / KEY_NAME).exists()
    assert open_ledger(path, key).public_key() == SigningKey.load(key).public


def test_a_lost_key_is_not_replaced(tmp_path):
    path = tmp_path / "ledger.jsonl"
    charge(open_ledger(path), 1)
    (tmp_path / KEY_NAME).rename(tmp_path / "elsewhere")
    with pytest.raises(LedgerError, match=r"has entries, and its key .* is missing"):
        open_ledger(path)
    assert not (tmp_path / KEY_NAME).exists()
    SigningKey.generate().save(tmp_path / KEY_NAME)
    with pytest.raises(LedgerError, match="ledger entry 1: expected the key"):
        open_ledger(path)
    (tmp_path / "elsewhere").replace(tmp_path / KEY_NAME)
    charge(open_ledger(path), 2)


def test_a_key_that_others_may_read_is_refused(tmp_path):
    open_ledger(tmp_path / "ledger.jsonl")
    (tmp_path / KEY_NAME).chmod(0o644)
    with pytest.raises(KeyFileError, match="expected permissions 0600"):
        open_ledger(tmp_path / "ledger.jsonl")


def test_processes_that_come_at_once_get_one_key(tmp_path):
    path = tmp_path / "ledger.jsonl"
    in_children(*(lambda name=name: charge(open_ledger(path), 1, name) for name in ("alice", "bob", "carol", "dave")))
    ledger = open_ledger(path)
    assert ledger.verify() == 4
    assert len(ledger.lines()) == 8


@pytest.mark.parametrize("value", [None, 5, "", "ab", "AB" * 32, "g" * 64, "ab" * 33, "ab" * 32 + "\n"])
def test_what_is_no_digest_in_a_message_is_refused(value):
    with pytest.raises(MessageError, match="head"):
        digest_in(Frame({"head": value}), "head")
    assert digest_in(Frame({"head": "ab" * 32}), "head") == "ab" * 32
