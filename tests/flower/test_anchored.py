"""Charge, train, store, commit, reply, anchor, checkpoint: what a kill at each step leaves, and what an audit sees."""

import json
from itertools import pairwise

import pytest
from flwr.app import Message
from kills import after, before, die, killed
from runs import Meddler, check, go, private, start, tiny

from fedcomp.config import Config
from fedcomp.crypto import SigningKey
from fedcomp.flower import account, client, place, server
from fedcomp.flower.ledgers import KEY_NAME, digest_of
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.plan import make_plan
from fedcomp.privacy import Anchors, Commit, FileLedger, chain_file
from fedcomp.privacy.chain import GENESIS
from fedcomp.run_files import RunDirectory
from fedcomp.simulation import simulate
from fedcomp.state import SqliteClientState


def small(**changes) -> Config:
    """Two clients, two rounds."""
    return private(**{"rounds": 2, "evaluate_every": 2, "clients": {"population": 2}, **changes})


CENTRAL = {
    "privacy": {"mode": "central", "unit": "client", "clipping_norm": 0.5, "noise_multiplier": 0.1, "delta": 1e-2},
    "rounds": 2,
    "evaluate_every": 2,
    "clients": {"population": 2},
}


def test_every_counted_update_is_charged_committed_and_anchored(tmp_path):
    run = start(private(), tmp_path / "run")
    payloads = {}

    def look(message, reply, index):
        payloads[f"client-{index}", unpack(from_message(reply)).number("round")] = reply
        return reply

    go(run, Meddler(look))
    ledger, anchors = FileLedger(run.ledger_path), Anchors(run.anchors_path).lines()
    assert len(ledger.entries()) == len(anchors) == len(payloads) == 9
    report = check(run)
    assert report.problems == report.warnings == ()
    assert (report.entries, report.committed, report.subjects) == (9, 9, 3)
    assert 0 < report.max_epsilon < report.max_epsilon_rdp
    # both ways: the server's head of the rounds before is in each client's lines, and theirs are in the anchors
    heads = [GENESIS, anchors[2].hash, anchors[5].hash]
    assert [entry.witness for entry in ledger.entries()] == [head for head in heads for _ in range(3)]
    commits = {line.hash: line for line in ledger.lines() if isinstance(line, Commit)}
    assert {anchor.receipt.head for anchor in anchors} == set(commits)
    assert all(commits[anchor.receipt.head].released == anchor.receipt.payload for anchor in anchors)


def test_the_payload_that_is_anchored_is_the_one_that_crossed(tmp_path):
    seen = set()

    def look(message, reply, _):
        inner = unpack(unpack(from_message(reply)).parts[0])
        seen.add((inner.text("head"), digest_of(inner.parts[0])))
        return reply

    run = start(small(envelope={"enabled": False}), tmp_path / "run")
    go(run, Meddler(look))
    assert {(one.receipt.head, one.receipt.payload) for one in Anchors(run.anchors_path).lines()} == seen
    assert len(seen) == 4


@pytest.mark.parametrize("config", [tiny(rounds=1), tiny(**CENTRAL)], ids=["none", "central"])
def test_where_nothing_is_anchored_nothing_is_kept_or_said(config, tmp_path):
    """Nothing under mode none; under central no digest of a raw update, and no name, but one head to the clients."""
    run = start(config, tmp_path / "run")
    up, inner, opened = [], unpack, []

    def look(message, reply, _):
        up.append(unpack(from_message(reply)))
        return reply

    def spy(content):
        frame = inner(content)
        opened.append(frame.header)
        return frame

    client.unpack = spy
    try:
        go(run, Meddler(look))
    finally:
        client.unpack = inner
    assert not run.anchors_path.exists()
    heads = {header["head"] for header in opened if "digest" in header and "head" in header}
    if config.privacy.mode == "none":
        assert heads == set()
        assert not run.ledger_path.exists()
        return
    lines = FileLedger(run.ledger_path).lines()
    assert heads == {line.hash for line in lines if not isinstance(line, Commit)}
    text = run.ledger_path.read_text()
    assert "client-" not in text
    assert len(lines) == 2 * 2


def test_under_mode_central_clients_keep_a_head_that_shows_a_rewrite(tmp_path):
    run = start(tiny(**CENTRAL), tmp_path / "run")
    go(run)
    states = SqliteClientState(run.path / "clients.sqlite")
    heads = {name: json.loads(states.load(name)["about"])["head"] for name in ("client-0", "client-1")}
    report = check(run, heads=heads)
    assert report.problems == report.warnings == ()
    assert (report.entries, report.committed) == (2, 2)
    lines = run.ledger_path.read_bytes().splitlines(keepends=True)
    run.ledger_path.write_bytes(b"".join(lines[:2]))  # an older copy, put back
    place._belongings.cache_clear()
    problems = check(run, heads=heads).problems
    assert any("'client-0' keeps the head" in problem and "rewritten or cut" in problem for problem in problems)
    assert any("round 2 was released without a charge" in problem for problem in problems)


def round_two(*args, **_):
    return 2 in args


def of_client_one(self, subject, *_, **details):
    return subject.endswith("/client-1") and details["server_round"] == 2


def commit_of_client_one(self, key, *_, **__):
    return key[0].endswith("/client-1") and key[2] == 2


def half_of_the_line(name, count):
    """Die when half of a file's append number ``count`` is written."""

    def arm():
        inner, seen = chain_file.append_synced, []

        def armed(path, line):
            if path.name == name:
                seen.append(line)
            if path.name == name and len(seen) == count:
                with path.open("ab", buffering=0) as file:
                    file.write(line[: len(line) // 2])
                die()
            return inner(path, line)

        chain_file.append_synced = armed

    return arm


def training_of_client_one(memory, owner, model, number, *_):
    return owner.name == "client-1" and number == 2


def reply_of_client_one(*args, **_):
    return "client-1" in args and 2 in args


def state_of_client_one(memory, owner, inner, model, kept, **about):
    return owner.name == "client-1" and about.get("replied") == 2


STEPS = {
    "before the intent": before(FileLedger, "compose", of_client_one),
    "half of the intent": half_of_the_line("ledger.jsonl", 7),
    "after the intent": after(FileLedger, "compose", of_client_one),
    "after training": before(client, "_encode", reply_of_client_one),
    "before the reply is stored": before(client, "_keep", state_of_client_one),
    "after the reply is stored": after(client, "_keep", state_of_client_one),
    "half of the commit": half_of_the_line("ledger.jsonl", 8),
    "after the commit": after(FileLedger, "commit", commit_of_client_one),
    "before the reply leaves": after(client, "_seal", reply_of_client_one),
    "before the anchors": before(account.SharedAccount, "settle", round_two),
    "half of the anchors": half_of_the_line("anchors.jsonl", 2),
    "after the anchors": after(account.SharedAccount, "settle", round_two),
    "before the checkpoint": before(RunDirectory, "save_checkpoint", lambda self, checkpoint: checkpoint.round == 2),
    "after the checkpoint": after(RunDirectory, "save_checkpoint", lambda self, checkpoint: checkpoint.round == 2),
}
QUICK = {
    "after the intent",
    "after the reply is stored",
    "half of the commit",
    "after the commit",
    "half of the anchors",
}


@pytest.mark.parametrize(
    "step", [step if step in QUICK else pytest.param(step, marks=pytest.mark.slow) for step in STEPS]
)
def test_a_kill_at_any_step_releases_nothing_twice_and_loses_no_charge(step, tmp_path):
    run = start(small(), tmp_path / "run")
    killed(run, STEPS[step])
    held = FileLedger(run.ledger_path)
    before_it = {line.charge.key: held.commit_of(line) for line in held.entries()}
    go(run)
    report = check(run)
    assert report.problems == report.warnings == ()
    assert (report.entries, report.committed) == (4, 4)
    ledger = FileLedger(run.ledger_path)
    assert [row["survivors"] for row in run.metrics()] == [2, 2]
    after_it = {line.charge.key: ledger.commit_of(line) for line in ledger.entries()}
    assert before_it.keys() <= after_it.keys(), "no charge is lost"
    assert all(after_it[key] == commit for key, commit in before_it.items() if commit), "what was committed stays"
    anchored = {
        (one.receipt.client, one.receipt.server_round, one.receipt.payload) for one in Anchors(run.anchors_path).lines()
    }
    assert len(anchored) == 4, "one noise for each client and round, however often it was sent"


CENTRAL_STEPS = {
    "before the intent": (before(FileLedger, "compose", lambda *_, **details: details["server_round"] == 2), 0, 2),
    "after the intent": (after(FileLedger, "compose", lambda *_, **details: details["server_round"] == 2), 1, 2),
    "before the commit": (before(account.SharedAccount, "settle", round_two), 1, 2),
    "half of the commit": (half_of_the_line("ledger.jsonl", 4), 1, 2),
    "after the commit": (after(account.SharedAccount, "settle", round_two), 0, 3),
    "before the checkpoint": (STEPS["before the checkpoint"], 0, 3),
    "after the checkpoint": (STEPS["after the checkpoint"], 0, 2),
}


@pytest.mark.parametrize(
    "step",
    [
        step if step in ("before the commit", "after the commit") else pytest.param(step, marks=pytest.mark.slow)
        for step in CENTRAL_STEPS
    ],
)
def test_a_kill_of_a_server_that_adds_the_noise_charges_what_may_have_been_seen(step, tmp_path):
    run = start(tiny(**CENTRAL), tmp_path / "run")
    arm, spent_for_nothing, committed = CENTRAL_STEPS[step]
    killed(run, arm)
    go(run)
    report = check(run)
    assert report.problems == ()
    assert report.committed == committed
    assert report.entries == committed + spent_for_nothing
    warned = [warning for warning in report.warnings if warning.startswith("intent without commit: entry 2 (round 2")]
    assert len(warned) == spent_for_nothing
    assert len(report.warnings) == spent_for_nothing


def test_a_state_that_is_put_back_makes_no_second_release(tmp_path):
    """The ledger is newer than the state: it says that something left which is not stored here any more."""
    run = start(small(), tmp_path / "run")
    kept, states = {}, {}
    original = server.RunDirectory.save_checkpoint

    def copy_after_round_one(self, checkpoint):
        original(self, checkpoint)
        if checkpoint.round == 1:
            kept.update({name: (run.path / name).read_bytes() for name in ("checkpoint.safetensors", "ledger.jsonl")})
            held = SqliteClientState(run.path / "clients.sqlite")
            states.update({name: held.load(name) for name in ("client-0", "client-1")})

    server.RunDirectory.save_checkpoint = copy_after_round_one
    try:
        go(run)
    finally:
        server.RunDirectory.save_checkpoint = original
    lines = run.ledger_path.read_bytes()

    def put_back(*files):
        place._belongings.cache_clear()
        for name in files:
            (run.path / name).write_bytes(kept[name])
        held = SqliteClientState(run.path / "clients.sqlite")
        for name, state in states.items():
            held.save(name, state)

    put_back("checkpoint.safetensors")
    rows = go(run)
    assert rows[1]["survivors"] == 0
    assert all("was released under it" in item["reason"] for item in rows[1]["refused"]), rows[1]["refused"]
    assert run.ledger_path.read_bytes() == lines

    # the whole folder of the clients, ledger and all: nothing here shows it, and the anchors do
    put_back("checkpoint.safetensors", "ledger.jsonl")
    rows = go(run)
    assert rows[1]["survivors"] == 2, "a second noise for round 2 has left"
    report = check(run)
    assert report.problems[0].startswith("anchor 2 (round 2, 'client-0'): no commit has the hash")
    key = SigningKey.load(run.path / KEY_NAME)
    assert FileLedger(run.ledger_path, key).verify() == 4, "the control: the ledger alone is whole"


@pytest.mark.parametrize("fault", ["head", "ledger", "short", "upper"])
def test_an_update_without_its_ledgers_head_does_not_count(fault, tmp_path):
    run = start(small(envelope={"enabled": False}), tmp_path / "run")

    def meddle(message, reply, index):
        if index != 1:
            return reply
        frame = unpack(from_message(reply))
        inner = unpack(frame.parts[0])
        header = {name: value for name, value in inner.header.items() if name != fault}
        header |= {"head": "ab"} if fault == "short" else {"head": "AB" * 32} if fault == "upper" else {}
        bad = pack(Frame({**header}, inner.parts))
        return Message(to_record(pack(Frame(frame.header, (bad,)))), reply_to=message)

    rows = go(run, Meddler(meddle))
    assert [row["survivors"] for row in rows] == [1, 1]
    assert all("message header: " in row["refused"][0]["reason"] for row in rows)
    report = check(run)
    assert report.problems == ()
    assert any(warning.startswith("released and not counted: entry") for warning in report.warnings)


def test_a_server_that_sends_no_head_gets_no_update(tmp_path, monkeypatch):
    monkeypatch.setattr(account.SharedAccount, "head", lambda self: "")
    run = start(small(rounds=1), tmp_path / "run")
    with pytest.raises(server.RunError, match="expected text at 'head'"):
        go(run)
    assert not run.ledger_path.exists(), "nothing was charged"


def test_an_update_that_is_not_the_committed_one_is_reported(tmp_path):
    """What a client that sends another noise than it committed looks like."""
    run = start(small(envelope={"enabled": False}), tmp_path / "run")
    kept = {}

    def meddle(message, reply, index):
        frame = unpack(from_message(reply))
        inner = unpack(frame.parts[0])
        if index != 1:
            return reply
        kept.setdefault("part", inner.parts[0])
        bad = pack(Frame(inner.header, (kept["part"],)))  # in round 2, the bytes of round 1
        return Message(to_record(pack(Frame(frame.header, (bad,)))), reply_to=message)

    go(run, Meddler(meddle))
    (problem,) = check(run).problems
    assert problem.startswith("anchor 3 (round 2, 'client-1'): ")
    assert problem.endswith("a second release under one charge")


@pytest.mark.slow
def test_workers_share_one_ledger_key_and_one_chain(tmp_path):
    """Processes begin at once, with no key there yet."""
    result = simulate(small(rounds=2, clients={"population": 4}, engine={"workers": 2}), out=tmp_path / "run")
    run = RunDirectory.open(result.path)
    report = check(run)
    assert report.problems == report.warnings == ()
    assert (report.entries, report.committed) == (8, 8)
    lines = FileLedger(run.ledger_path).lines()
    assert all(later.prev_hash == line.hash for line, later in pairwise(lines))


def test_the_plan_of_a_run_and_its_ledger_agree_where_the_bound_moves(tmp_path):
    privacy = {**CENTRAL["privacy"], "clipping_norm": 0.01, "clipping_quantile": 0.5, "clipping_bit_noise": 0.06}
    run = start(tiny(**{**CENTRAL, "privacy": privacy}), tmp_path / "run")
    go(run)
    assert check(run).problems == ()
    assert make_plan(run.config()).central
