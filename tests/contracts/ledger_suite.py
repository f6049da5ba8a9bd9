"""What every ``Ledger`` keeps. ``make`` opens the same empty ledger each time it is called: a restart."""

import dataclasses
import math
from collections.abc import Callable

import dp_accounting as dp
import pytest

from fedcomp.privacy import (
    Budget,
    BudgetExceeded,
    Charge,
    Ledger,
    LedgerError,
    PoissonSampler,
    UnsupportedEvent,
    epsilon,
)

DELTA = 1e-5
STEPS = 3
DIGESTS = [f"{number:064x}" for number in range(1, 5)]
ROUND = PoissonSampler(0, 0.25, STEPS).event(4.4)
CHARGE = {
    "run": "run-1",
    "server_round": 1,
    "count": 1,
    "sensitivity": 0.1,
    "noise_std": 0.44,
    "sampler": "poisson",
    "sampling_probability": 0.25,
    "codec_digest": "c" * 64,
}


def charge(ledger, subject="digits/example/alice", event=ROUND, budget=None, **changes):
    return ledger.compose(subject, event, budget=budget, **{**CHARGE, **changes})


def check_a_round_is_charged_once(make: Callable[[], Ledger]):
    """The same charge again returns the entry that is there, after a restart too."""
    first = charge(make())
    ledger = make()
    assert charge(ledger) == first
    assert charge(ledger) == first
    assert [entry.charge.key for entry in ledger.entries()] == [("digits/example/alice", "run-1", 1, "update")]
    assert ledger.epsilon("digits/example/alice", DELTA) == epsilon([(ROUND, 1)], DELTA)


def check_another_release_is_charged_again(make: Callable[[], Ledger]):
    """Another round, run or release of the same subject adds up; other subjects do not notice."""
    ledger = make()
    for change in ({}, {"server_round": 2}, {"run": "run-2"}, {"release": "metrics"}):
        charge(ledger, **change)
    charge(ledger, "digits/example/bob")
    assert ledger.epsilon("digits/example/alice", DELTA) == epsilon([(ROUND, 4)], DELTA)
    assert ledger.epsilon("digits/example/bob", DELTA) == epsilon([(ROUND, 1)], DELTA)
    assert ledger.epsilon("digits/example/carol", DELTA) == 0


def check_other_content_under_the_same_key_is_refused(make: Callable[[], Ledger]):
    """A round that was charged cannot be charged differently; the refusal names the field."""
    ledger = make()
    charge(ledger)
    changes = [
        {"event": PoissonSampler(0, 0.25, STEPS).event(9.9)},
        {"count": 2},
        {"noise_std": 0.1},
        {"sensitivity": 0.2},
        {"sampling_probability": 0.2},
        {"sampler": "shuffle"},
        {"codec_digest": "d" * 64},
    ]
    for change in changes:
        with pytest.raises(LedgerError, match=next(iter(change))):
            charge(ledger, **change)
    assert len(ledger.entries()) == 1


def check_many_rounds_cost_what_all_their_steps_cost(make: Callable[[], Ledger]):
    """Row 7: T rounds are T times the steps of a round, over restarts; not the epsilon of one round."""
    rounds = 5
    for server_round in range(rounds):
        charge(make(), server_round=server_round)  # a new process each round
    step = ROUND.event
    spent = make().epsilon("digits/example/alice", DELTA)
    assert spent == epsilon([(step, rounds * STEPS)], DELTA)
    engine_of_one_round = epsilon([(step, STEPS)], DELTA)
    assert spent > 1.5 * engine_of_one_round, "this check would not notice an engine that is new each round"


def check_a_count_is_that_many_charges(make: Callable[[], Ledger]):
    """Row 20 again, at the ledger."""
    ledger = make()
    charge(ledger, "at once", count=4)
    for server_round in range(4):
        charge(ledger, "one by one", server_round=server_round)
    assert ledger.epsilon("at once", DELTA) == ledger.epsilon("one by one", DELTA) == epsilon([(ROUND, 4)], DELTA)


def check_the_largest_account_counts(make: Callable[[], Ledger]):
    """Clients hold disjoint data: the epsilon of a run is the largest, neither the sum nor the mean."""
    ledger = make()
    assert ledger.max_epsilon(DELTA) == 0
    charge(ledger, "alice", count=4)
    charge(ledger, "bob", count=1)
    values = [ledger.epsilon(subject, DELTA) for subject in ("alice", "bob")]
    assert ledger.max_epsilon(DELTA) == max(values)
    assert max(values) not in (sum(values), sum(values) / 2)


def check_a_budget_is_asked_before_anything_changes(make: Callable[[], Ledger]):
    """Over budget: refused, nothing written; exactly on budget: charged."""
    ledger = make()
    charge(ledger)
    exact = Budget(epsilon([(ROUND, 3)], DELTA), DELTA)
    before = ledger.entries()
    assert ledger.would_exceed("digits/example/alice", ROUND, 3, exact)
    with pytest.raises(BudgetExceeded, match="epsilon of 'digits/example/alice' for each example would go from"):
        charge(ledger, server_round=2, count=3, budget=exact)
    assert ledger.entries() == make().entries() == before
    assert not ledger.would_exceed("digits/example/alice", ROUND, 2, exact)
    assert ledger.entries() == before
    charge(ledger, server_round=2, count=2, budget=exact)
    assert ledger.epsilon("digits/example/alice", DELTA) == exact.target_epsilon
    assert ledger.would_exceed("digits/example/alice", ROUND, 1, exact)
    assert not ledger.would_exceed("digits/example/alice", dp.NoOpDpEvent(), 1, exact)
    assert charge(ledger, server_round=2, count=2, budget=exact).index == 1  # charged already: no new charge to refuse


def check_no_noise_is_never_in_a_budget(make: Callable[[], Ledger]):
    """A release without noise costs infinity, and stays on the account."""
    ledger, none = make(), PoissonSampler(0, 0.25, STEPS).event(0.0)
    assert ledger.would_exceed("digits/example/alice", none, 1, Budget(1e9, DELTA))
    with pytest.raises(BudgetExceeded):
        charge(ledger, event=none, budget=Budget(1e9, DELTA))
    charge(ledger, event=none)
    assert make().epsilon("digits/example/alice", DELTA) == make().max_epsilon(DELTA) == math.inf


def check_refusals_change_nothing(make: Callable[[], Ledger]):
    """What cannot be priced or does not fit its account is refused."""
    ledger = make()
    charge(ledger)
    before = ledger.entries()
    refused = [
        (UnsupportedEvent, {"event": dp.UnsupportedDpEvent()}),
        (UnsupportedEvent, {"event": dp.GaussianDpEvent(-1.0)}),
        (ValueError, {"count": 0}),
        (ValueError, {"server_round": -1}),
        (ValueError, {"noise_std": float("nan")}),
        (ValueError, {"subject": ""}),
        (LedgerError, {"unit": "client"}),
        (LedgerError, {"neighboring_relation": "replace_one"}),
    ]
    for error, change in refused:
        with pytest.raises(error):
            charge(ledger, **{"server_round": 2, **change})
    assert ledger.entries() == make().entries() == before


def check_entries_say_what_happened(make: Callable[[], Ledger]):
    """Every field comes back after a restart; indices count up; each entry names the one before."""
    for server_round in range(3):
        charge(make(), server_round=server_round)
    entries = make().entries()
    assert [entry.index for entry in entries] == [0, 1, 2]
    assert [entry.prev_hash for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
    expected = Charge("digits/example/alice", ROUND, **{**CHARGE, "server_round": 2})
    assert dataclasses.asdict(entries[2].charge) == dataclasses.asdict(expected)
    assert make().head() == entries[2].hash
    assert make().verify(entries[0].hash) == 3
    with pytest.raises(LedgerError, match="no entry has the hash"):
        make().verify("f" * 64)


def check_a_commit_says_what_was_released(make: Callable[[], Ledger]):
    """Once for each charge, after a restart too; it costs nothing, and its absence saves nothing."""
    entry = charge(make(), witness=DIGESTS[2])
    spent = make().epsilon("digits/example/alice", DELTA)
    assert make().commit_of(entry) is None
    assert spent == epsilon([(ROUND, 1)], DELTA), "spent from the intent on, committed or not"
    ledger = make()
    commit = ledger.commit(entry, DIGESTS[0], witness=DIGESTS[3])
    assert (commit.intent, commit.intent_hash) == (entry.index, entry.hash)
    assert (entry.witness, commit.witness, commit.released) == (DIGESTS[2], DIGESTS[3], DIGESTS[0])
    assert commit.prev_hash == entry.hash
    assert make().head() == commit.hash
    assert make().commit_of(entry) == commit
    for again in (make(), ledger):
        assert again.commit(entry.charge.key, DIGESTS[0], witness=DIGESTS[1]) == commit
    assert make().entries() == (entry,)
    assert make().lines() == (entry, commit)
    assert charge(make()) == entry, "a charge that was committed is still that charge"
    assert make().epsilon("digits/example/alice", DELTA) == spent
    assert make().verify(commit.hash) == make().verify(entry.hash) == 1


def check_a_second_release_under_one_charge_is_refused(make: Callable[[], Ledger]):
    """Fresh noise in place of what left costs another charge; this is what a restored state would send."""
    entry = charge(make())
    make().commit(entry, DIGESTS[0])
    with pytest.raises(LedgerError, match=f"ledger entry {entry.index}: .* a second release under one charge"):
        make().commit(entry, DIGESTS[1])
    other = charge(make(), release="again")
    make().commit(other, DIGESTS[1])
    assert [make().commit_of(one).released for one in (entry, other)] == DIGESTS[:2]


def check_nothing_is_committed_that_was_not_charged(make: Callable[[], Ledger]):
    """Neither under a key that has no charge, nor for an entry of another ledger; and nothing but digests."""
    entry = charge(make())
    before = make().lines()
    with pytest.raises(LedgerError, match="'update' of round 9 of run 'run-1' was never charged to 'digits/example/al"):
        make().commit(("digits/example/alice", "run-1", 9, "update"), DIGESTS[0])
    with pytest.raises(LedgerError, match=f"ledger entry {entry.index}: expected it to be in this ledger"):
        make().commit(dataclasses.replace(entry, hash=DIGESTS[0]), DIGESTS[0])
    for wrong in ("", "ab", DIGESTS[0].upper().replace("0", "A"), DIGESTS[0] + "00"):
        with pytest.raises(ValueError, match="released must be 32 bytes"):
            make().commit(entry, wrong)
    with pytest.raises(ValueError, match="witness must be 32 bytes"):
        make().commit(entry, DIGESTS[0], witness="ab")
    assert make().lines() == before


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
