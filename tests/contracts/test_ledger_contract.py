"""Every ledger through the suite, and wrong ones that the suite has to catch."""

import pytest

from contracts import ledger_suite as suite
from fedcomp.crypto import SigningKey
from fedcomp.privacy import Charge, Entry, FileLedger, epsilon

KEY = SigningKey.generate()


@pytest.mark.parametrize("check", suite.CHECKS, ids=lambda check: check.__name__)
def test_the_file_ledger_keeps_the_contract(check, tmp_path):
    check(lambda: FileLedger(tmp_path / "ledger.jsonl", KEY))


class ForgetsOnRestart(FileLedger):
    """What an engine in memory does."""

    def __init__(self, path, signer):
        path.unlink(missing_ok=True)
        super().__init__(path, signer)


class ChargesTwice(FileLedger):
    """A restart that prepares the same release again is charged again."""

    def compose(self, subject, event, *, budget=None, **details):
        while any(entry.charge.key == Charge(subject, event, **details).key for entry in self.entries()):
            details["release"] = details.get("release", "update") + "'"
        return super().compose(subject, event, budget=budget, **details)


class SumsOverClients(FileLedger):
    def max_epsilon(self, delta):
        return sum(self.epsilon(entry.charge.subject, delta) for entry in self.entries())


class AsksAfterwards(FileLedger):
    def compose(self, subject, event, *, budget=None, **details):
        entry = super().compose(subject, event, **details)
        super().compose(subject, event, budget=budget, **{**details, "release": "probe"})
        return entry


class IgnoresTheBudget(FileLedger):
    def compose(self, subject, event, *, budget=None, **details):
        return super().compose(subject, event, **details)


class OneRoundOnly(FileLedger):
    """Reports what the last round cost, as an engine that is new each round does."""

    def epsilon(self, subject, delta):
        mine = [entry.charge for entry in self.entries() if entry.charge.subject == subject]
        return epsilon([(mine[-1].event, mine[-1].count)], delta) if mine else 0.0


class ForgetsTheCount(FileLedger):
    def epsilon(self, subject, delta):
        return epsilon([(e.charge.event, 1) for e in self.entries() if e.charge.subject == subject], delta)


class FirstContentWins(FileLedger):
    def compose(self, subject, event, *, budget=None, **details):
        key = Charge(subject, event, **details).key
        known: list[Entry] = [entry for entry in self.entries() if entry.charge.key == key]
        return known[0] if known else super().compose(subject, event, budget=budget, **details)


class CommitsAnything(FileLedger):
    """Lets a second release take the place of the first, as a state put back from a backup would."""

    def commit(self, entry, released, *, witness=""):
        try:
            return super().commit(entry, released, witness=witness)
        except Exception:
            if self.commit_of(entry) is None:
                raise
            return self.commit_of(entry)


class SpendsAtCommit(FileLedger):
    """What was charged and not committed costs nothing: wrong, because it may have left before the kill."""

    def epsilon(self, subject, delta):
        mine = [entry for entry in self.entries() if entry.charge.subject == subject and self.commit_of(entry)]
        return epsilon([(entry.charge.event, entry.charge.count) for entry in mine], delta)


class CommitsAgain(FileLedger):
    """Each answer that is sent again is written down again, under a charge of its own."""

    def commit(self, entry, released, *, witness=""):
        if isinstance(entry, Entry) and self.commit_of(entry) is None:
            return super().commit(entry, released, witness=witness)
        found = next(one for one in self.entries() if entry in (one, one.charge.key)).charge
        again = self.compose(found.subject, found.event, run=found.run, server_round=found.server_round, release="2")
        return super().commit(again, released, witness=witness)


CAUGHT_BY = [
    (CommitsAnything, suite.check_a_second_release_under_one_charge_is_refused),
    (SpendsAtCommit, suite.check_a_commit_says_what_was_released),
    (SpendsAtCommit, suite.check_many_rounds_cost_what_all_their_steps_cost),
    (CommitsAgain, suite.check_a_commit_says_what_was_released),
    (ForgetsOnRestart, suite.check_many_rounds_cost_what_all_their_steps_cost),
    (ForgetsOnRestart, suite.check_entries_say_what_happened),
    (ChargesTwice, suite.check_a_round_is_charged_once),
    (SumsOverClients, suite.check_the_largest_account_counts),
    (AsksAfterwards, suite.check_a_budget_is_asked_before_anything_changes),
    (IgnoresTheBudget, suite.check_no_noise_is_never_in_a_budget),
    (OneRoundOnly, suite.check_many_rounds_cost_what_all_their_steps_cost),
    (OneRoundOnly, suite.check_another_release_is_charged_again),
    (ForgetsTheCount, suite.check_a_count_is_that_many_charges),
    (FirstContentWins, suite.check_other_content_under_the_same_key_is_refused),
]


@pytest.mark.parametrize(("wrong", "check"), CAUGHT_BY)
def test_the_suite_catches(wrong, check, tmp_path):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(lambda: wrong(tmp_path / "ledger.jsonl", KEY))
