"""A ledger by itself: what its accounts have spent, and the first line that is broken."""

import pytest

from fedcomp.audit.device_ledger import audit_ledger
from fedcomp.crypto import SigningKey
from fedcomp.privacy import FileLedger, PoissonSampler, epsilon

EVENT = PoissonSampler(0, 0.1, 1).event(2.0)
DELTA = 1e-5


@pytest.fixture
def ledger(tmp_path):
    kept = FileLedger(tmp_path / "ledger.jsonl", SigningKey.generate())
    for subject, rounds in (("clinic/a", 3), ("clinic/b", 1)):
        for number in range(rounds):
            entry = kept.compose(subject, EVENT, run="first", server_round=number)
            kept.commit(entry, f"{number:064x}")
    return kept


def test_each_account_has_its_own_epsilon(ledger):
    whole, first, second = audit_ledger(ledger.path, DELTA)
    assert whole.holds
    assert "4 charges, 4 commits" in whole.measured
    assert f"{epsilon([(EVENT, 3)], DELTA):.3f}" in first.measured
    assert f"{epsilon([(EVENT, 1)], DELTA):.3f}" in second.measured
    assert first.holds
    assert second.holds


def test_the_first_broken_entry_is_named(ledger):
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join([*lines[:2], *lines[3:]]))
    (finding,) = audit_ledger(ledger.path, DELTA)
    assert not finding.holds
    assert "ledger entry 2" in finding.measured


def test_another_key_and_a_head_that_is_gone_are_found(ledger):
    head = ledger.head()
    assert audit_ledger(ledger.path, DELTA, ledger.public_key(), head)[0].holds
    assert not audit_ledger(ledger.path, DELTA, SigningKey.generate().public)[0].holds
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:-1]))
    (finding,) = audit_ledger(ledger.path, DELTA, anchor=head)
    assert not finding.holds
    assert "dropped or rewritten" in finding.measured


def test_nothing_and_a_wrong_delta(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert audit_ledger(tmp_path / "empty.jsonl", DELTA)[0].verdict == "not covered"
    with pytest.raises(ValueError, match="delta"):
        audit_ledger(tmp_path / "empty.jsonl", 2.0)
