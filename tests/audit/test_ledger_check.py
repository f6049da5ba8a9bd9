"""Attacks on a ledger and on what was kept of it, each with the sentence that names what was broken first."""

import subprocess
import sys
from dataclasses import replace

import pytest

from fedcomp.audit import ledger_check
from fedcomp.audit.ledger_check import check_ledger
from fedcomp.audit.ledger_terms import ExpectedAccount, ExpectedCharges, first_of
from fedcomp.crypto import SigningKey
from fedcomp.privacy import Anchor, Anchors, Commit, Entry, FileLedger, PoissonSampler, Receipt, epsilon
from fedcomp.privacy.lines import read_line
from hardships import SignsAs, flipped

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
DELTA = 1e-5
EVENT = PoissonSampler(0, 0.25, 3).event(2.0)
TERMS = {"sensitivity": 0.1, "noise_std": 0.2, "sampler": "poisson", "sampling_probability": 0.25}
CLIENTS = ("client-0", "client-1")
ROUNDS = 3


def payload(client, number):
    return f"{CLIENTS.index(client) * 100 + number + 1:064x}"


def subject(client):
    return f"digits/example/{client}"


def charge(ledger, client, number, witness="", session="s", **changes):
    details = {**TERMS, "run": "run-1", "server_round": number, "release": f"update/{session}", **changes}
    return ledger.compose(subject(client), EVENT, witness=witness, **details)


class Story:
    """Two clients and a server that go through three rounds; the clients share a ledger, as in a simulation."""

    def __init__(self, folder, noise=None):
        self.path, self.anchors_path = folder / "ledger.jsonl", folder / "anchors.jsonl"
        ledger, anchors = FileLedger(self.path, KEY), Anchors(self.anchors_path)
        for number in range(1, ROUNDS + 1):
            head, receipts = anchors.head(), []
            for client in CLIENTS:
                entry = charge(ledger, client, number, head, noise_std=(noise or {}).get(number, 0.2))
                commit = ledger.commit(entry, payload(client, number), witness=head)
                receipts.append(Receipt(number, client, commit.hash, commit.key, commit.released))
            anchors.append(receipts)

    def check(self, counted=ROUNDS, **more):
        accounts = tuple(ExpectedAccount(subject(client), client, counted) for client in CLIENTS)
        expected = more.pop("expected", None) or terms(accounts)
        return check_ledger(self.path, expected=expected, delta=DELTA, **{"anchors": self.anchors_path, **more})

    def lines(self):
        return list(FileLedger(self.path).lines())

    def raw(self):
        return self.path.read_bytes().splitlines(keepends=True)

    def write(self, lines):
        self.path.write_bytes(b"".join(line if isinstance(line, bytes) else line.to_line() for line in lines))

    def rewrite(self, edit, signer=KEY):
        """Write the whole chain anew, signed, with ``edit`` applied to each charge (None: dropped)."""
        made, places = [], {}
        for line in self.lines():
            previous = made[-1] if made else None
            if isinstance(line, Commit):
                if line.intent in places:
                    made.append(Commit.after(previous, places[line.intent], line.released, signer, line.witness))
            elif (edited := edit(line.charge)) is not None:
                made.append(Entry.after(previous, edited, line.time, signer, line.witness))
                places[line.index] = made[-1]
        self.write(made)

    def reanchor(self, edit):
        """Write the anchors anew: what their owner can do."""
        made = []
        for anchor in Anchors(self.anchors_path).lines():
            if (edited := edit(anchor.receipt)) is not None:
                made.append(Anchor.after(made[-1] if made else None, edited))
        self.anchors_path.write_bytes(b"".join(anchor.to_line() for anchor in made))


def terms(accounts, **changes):
    fields = {"run": "run-1", "event": EVENT, "unit": "example", **TERMS, "accounts": accounts, **changes}
    return ExpectedCharges(**fields)


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def test_a_whole_story_has_no_problems(story):
    report = story.check(public_key=KEY.public)
    assert report.verified
    assert report.problems == report.warnings == ()
    assert (report.entries, report.committed, report.subjects) == (6, 6, 2)
    assert report.max_epsilon == epsilon([(EVENT, 3)], DELTA)
    assert report.max_epsilon_rdp == epsilon([(EVENT, 3)], DELTA, "RDP")
    assert report.max_epsilon < report.max_epsilon_rdp
    assert report.public_key == KEY.public.hex()


def test_every_flipped_byte_of_the_ledger_is_reported(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = FileLedger(path, KEY)
    ledger.commit(charge(ledger, "client-0", 1), payload("client-0", 1))
    good = path.read_bytes()
    expected = terms((ExpectedAccount(subject("client-0"), "client-0", 1),))
    for at in flipped(path):
        problems = check_ledger(path, expected=expected, delta=DELTA).problems
        assert problems, f"byte {at} of {good!r}"
        assert problems[0].startswith(f"ledger entry {good[:at].count(10)}: "), problems
    assert check_ledger(path, expected=expected, delta=DELTA).verified


@pytest.mark.slow
def test_every_flipped_byte_of_the_anchors_is_reported(story):
    good = story.anchors_path.read_bytes()
    for at in flipped(story.anchors_path):
        if at % 7 == 0 or good[at] == 10:  # all of them are in the tests of anchors
            assert f" {good[:at].count(10)}: " in story.check().problems[0]
    assert story.check().verified


MOVED = {
    "dropped": (lambda raw: [*raw[:4], *raw[5:]], 4),
    "duplicated": (lambda raw: [*raw[:5], raw[4], *raw[5:]], 5),
    "reordered": (lambda raw: [*raw[:2], raw[4], raw[3], raw[2], *raw[5:]], 2),
    "first dropped": (lambda raw: raw[1:], 0),
    "inserted": (lambda raw: [*raw[:3], raw[0], *raw[3:]], 3),
    "commit dropped": (lambda raw: [*raw[:5], *raw[6:]], 5),
    "edited": (lambda raw: [*raw[:8], raw[8].replace(b'"server_round":3', b'"server_round":4'), *raw[9:]], 8),
    "empty line": (lambda raw: [*raw[:7], b"\n", *raw[7:]], 7),
}


@pytest.mark.parametrize("kind", MOVED)
def test_lines_that_were_moved_are_reported_by_the_first(story, kind):
    attack, index = MOVED[kind]
    story.write(attack(story.raw()))
    (problem,) = story.check().problems
    assert problem.startswith(f"ledger entry {index}: ")


def says(report, *starts):
    assert len(report.problems) == len(starts), report.problems
    for problem, start in zip(report.problems, starts, strict=True):
        assert start in problem, report.problems


@pytest.mark.parametrize("kept", [0, 2, 4, 10, 11])
def test_an_older_file_that_is_put_back_is_caught_by_the_anchors(story, kept):
    """A chain that was cut at the end of an entry is whole: with the anchors gone too, counting alone is left."""
    story.write(story.raw()[:kept])
    first = kept // 2
    problems = story.check().problems
    assert any(f"anchor {first} (round {first // 2 + 1}, 'client-{first % 2}'): " in problem for problem in problems), (
        problems
    )
    assert FileLedger(story.path).verify() == (kept + 1) // 2, "the control: the ledger alone is whole"
    assert any("that were counted are without a" in problem for problem in problems)
    story.anchors_path.unlink()
    assert any("are anchored (anchors cut off?)" in problem for problem in story.check().problems)


def test_hashes_made_anew_without_the_key_are_caught_by_the_signature(story):
    """The noise of round 2 is edited, and everything after it hashed again, by somebody who has another key."""

    def edit(held):
        return replace(held, noise_std=0.4) if held.server_round == 2 else held

    kept = story.lines()
    story.rewrite(edit, OTHER)
    problems = story.check(public_key=KEY.public).problems
    assert problems[0].startswith("ledger entry 0: expected the key")
    story.write(kept)
    story.rewrite(edit, SignsAs(KEY.public, OTHER))
    for known in ({}, {"public_key": KEY.public}):
        assert story.check(**known).problems[0].startswith("ledger entry 0: its signature does not fit")


def test_what_the_owner_of_the_key_writes_anew_is_caught_by_the_anchors(tmp_path):
    """Half the noise was added in round 2, and the entry said so. Its owner writes what the plan says, and signs it."""
    story = Story(tmp_path, noise={2: 0.1})
    says(
        story.check(),
        "ledger entry 4: round 2 of 'digits/example/client-0' is charged with noise_std 0.1, the plan says 0.2",
    )
    story.rewrite(lambda held: replace(held, noise_std=0.2))
    assert FileLedger(story.path, KEY).verify() == 6, "the control: chain and signatures are whole"
    assert story.check(anchors=None).verified, "nor do the terms show it"
    (problem,) = [one for one in story.check().problems if one.startswith("anchor")]
    assert problem.startswith("anchor 2 (round 2, 'client-0'): no commit has the hash")
    assert problem.endswith("(and 3 more like it)")


def test_a_round_that_its_owner_dropped_is_missing(story):
    story.rewrite(lambda held: held if (held.server_round, held.subject[-1]) != (2, "1") else None)
    problems = story.check().problems
    assert problems[0] == ("'client-1': 1 of 3 releases that were counted are without a charge (entries cut off?)")
    assert problems[1].startswith("anchor 3 (round 2, 'client-1'): no commit has the hash")


def test_a_charge_without_a_commit_does_not_cover_a_counted_release(story):
    lines = story.lines()
    story.write(lines[:-1])
    problems = story.check().problems
    assert problems[0] == ("'client-1': 1 of 3 releases that were counted are without a commit (entries cut off?)")


CHANGES = {
    "event": {"event": PoissonSampler(0, 0.25, 2).event(2.0)},
    "count": {"count": 2},
    "sensitivity": {"sensitivity": 0.05},
    "noise_std": {"noise_std": 0.1},
    "sampler": {"sampler": "shuffle"},
    "sampling_probability": {"sampling_probability": 0.5},
    "codec_digest": {"codec_digest": "other"},
    "neighboring_relation": {"neighboring_relation": "replace_one"},
    "unit": {"unit": "client"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_charge_under_other_terms_is_reported_by_the_term(story, name):
    """Of a whole account, because an account has one unit; made by its owner, signed, and with anchors to match."""

    def edit(held):
        return replace(held, **CHANGES[name]) if held.subject.endswith("1") else held

    old = {line.hash: line.index for line in story.lines()}
    story.rewrite(edit)
    new = story.lines()
    heads = {line_hash: new[index].hash for line_hash, index in old.items()}
    story.reanchor(lambda receipt: replace(receipt, head=heads[receipt.head]))
    accounts = tuple(ExpectedAccount(subject(client), client, ROUNDS) for client in CLIENTS)
    expected = terms(accounts, codec_digest="" if name != "codec_digest" else "the plan's")
    problems = story.check(expected=expected).problems
    index = 0 if name == "codec_digest" else 2
    named = rf"ledger entry {index}: round 1 of 'digits/example/client-{index // 2}' is charged with "
    assert any(problem.startswith(named) and f"with {name} " in problem for problem in problems[:1]), problems


def test_noise_is_the_multiplier_times_the_sensitivity_also_where_the_bound_moves(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger = FileLedger(path, KEY)
    for number, bound in ((1, 0.1), (2, 0.3)):
        entry = charge(ledger, "client-0", number, sensitivity=bound, noise_std=2.5 * bound)
        ledger.commit(entry, payload("client-0", number))
    accounts = (ExpectedAccount(subject("client-0"), "", 2),)
    moving = terms(accounts, sensitivity=None, noise_std=None, noise_over_sensitivity=2.5)
    assert check_ledger(path, expected=moving, delta=DELTA).verified
    fixed = replace(moving, noise_over_sensitivity=None)  # the control: by the event alone it would be 2.0
    (problem,) = check_ledger(path, expected=fixed, delta=DELTA).problems
    assert "with noise_std 0.25, the plan says 0.2 (multiplier 2 times sensitivity 0.1)" in problem


def test_two_payloads_under_one_commit_are_reported(story):
    """A round that ran again after a kill, and another noise came: the sin that this is all about."""
    anchors = Anchors(story.anchors_path)
    last = anchors.lines()[-1].receipt
    anchors.append([last])
    assert story.check().verified, "the same again is fine"
    anchors.append([replace(last, payload="ee" * 32)])
    says(story.check(), "anchor 7 (round 3, 'client-1'): eeeeeeeeeeeeeeee came, and entry 11 committed")


def test_an_anchor_that_names_another_charge_is_reported(story):
    kept = {
        one.receipt.client + str(one.receipt.server_round): one.receipt for one in Anchors(story.anchors_path).lines()
    }
    story.reanchor(
        lambda receipt: replace(kept["client-12"], server_round=3) if receipt == kept["client-13"] else receipt
    )
    says(story.check(), "anchor 5 (round 3, 'client-1'): its head, entry 7, commits round 2 of")


def test_anchors_that_are_out_of_order_are_reported(story):
    found = Anchors(story.anchors_path).lines()
    swapped = [found[index].receipt for index in (4, 1, 2, 3, 0, 5)]
    story.anchors_path.unlink()
    Anchors(story.anchors_path).append(swapped)
    problems = story.check().problems
    assert problems[0].startswith(
        "anchor 2 (round 2, 'client-0'): its head is entry 5, and an earlier anchor's is entry 9"
    )
    assert any("it names the head" in problem and "which no anchor has" in problem for problem in problems)


def test_anchors_that_were_written_anew_are_caught_by_the_clients_lines(story):
    """The server forgets that client-1 came in round 1, and makes its chain anew: the clients kept its head."""
    story.reanchor(lambda receipt: receipt if (receipt.client, receipt.server_round) != ("client-1", 1) else None)
    problems = story.check(counted=2).problems
    says(story.check(counted=2), "ledger entry 4: it names the head")
    assert "which no anchor has (anchors rewritten or cut off?)" in problems[0]


@pytest.mark.parametrize(("kept", "client", "left"), [(0, 0, 0), (3, 0, 2), (4, 0, 2), (5, 1, 2)])
def test_anchors_whose_end_was_cut_off_are_fewer_than_what_was_counted(story, kept, client, left):
    story.anchors_path.write_bytes(b"".join(story.anchors_path.read_bytes().splitlines(keepends=True)[:kept]))
    said = f"'client-{client}': 3 updates were counted and {left} are anchored (anchors cut off?)"
    assert story.check().problems[0].startswith(said)


@pytest.mark.parametrize(
    ("witness", "said"),
    [
        (lambda heads: "", "it names no head as its witness"),
        (lambda heads: heads[0], "its witness is anchor 0, after 1: out of order"),
        (lambda heads: "ab" * 32, "it names the head abababababababab as its witness"),
    ],
    ids=["missing", "goes back", "unknown"],
)
def test_a_witness_that_the_anchors_do_not_bear_out_is_reported(story, witness, said):
    """An intent that was never committed, so that no anchor has its line."""
    ledger, heads = FileLedger(story.path, KEY), [one.hash for one in Anchors(story.anchors_path).lines()]
    charge(ledger, "client-0", 4, heads[5])
    assert story.check().verified
    charge(ledger, "client-0", 5, heads[1])
    says(story.check(), "ledger entry 13: its witness is anchor 1, after 5: out of order")
    story.write(story.raw()[:8])
    story.anchors_path.write_bytes(b"".join(story.anchors_path.read_bytes().splitlines(keepends=True)[:4]))
    ledger = FileLedger(story.path, KEY)
    assert story.check(counted=2).verified
    charge(ledger, "client-0", 3, witness(heads))
    says(story.check(counted=2), f"ledger entry 8: {said}")


def test_a_round_that_goes_back_within_a_session_is_reported(story):
    ledger = FileLedger(story.path, KEY)
    charge(ledger, "client-0", 2, ledger.lines()[-1].witness, session="t")
    assert story.check().verified, "another session begins anew, and is charged anew"
    ledger.commit(charge(ledger, "client-0", 1, ledger.lines()[-1].witness, session="t"), "ee" * 32)
    says(
        story.check(),
        "ledger entry 13: round 1 of 'digits/example/client-0' is charged after round 2 (entry 12) of the same session",
        "ledger entry 14: it names no head",
    )


def test_what_was_spent_for_nothing_or_lost_on_its_way_is_worth_a_word(story):
    ledger = FileLedger(story.path, KEY)
    head = Anchors(story.anchors_path).head()
    entry = charge(ledger, "client-0", 4, head)
    ledger.commit(charge(ledger, "client-1", 4, head), "ee" * 32, witness=head)
    report = story.check()
    assert report.problems == ()
    assert report.warnings == (
        (
            "released and not counted: entry 14 (round 4 of 'digits/example/client-1'; lost on its way, or refused by "
            "the server)"
        ),
        "intent without commit: entry 12 (round 4 of 'digits/example/client-0'; spent, nothing released)",
    )
    assert report.max_epsilon == epsilon([(EVENT, 4)], DELTA), "spent all the same"
    assert (report.entries, report.committed) == (8, 7)
    assert ledger.commit_of(entry) is None


def test_a_torn_last_line_and_equal_bytes_are_worth_a_word(story):
    ledger = FileLedger(story.path, KEY)
    head = Anchors(story.anchors_path).head()
    ledger.commit(charge(ledger, "client-0", 4, head), payload("client-0", 1), witness=head)
    with story.path.open("ab") as file:
        file.write(b'{"charge":')
    report = story.check()
    assert report.problems == ()
    assert report.warnings[0].startswith("the last line is torn")
    assert report.warnings[-1].startswith("ledger entry 1: the same bytes were released under another charge")


def test_other_runs_are_priced_and_only_their_contradictions_are_told(story):
    ledger = FileLedger(story.path, KEY)
    charge(ledger, "client-0", 1, run="run-2")
    assert [word[:21] for word in story.check().warnings] == ["intent without commit"]
    assert story.check().max_epsilon == epsilon([(EVENT, 4)], DELTA), "the same rows, another run: one account"
    charge(ledger, "client-0", 2, run="run-2", noise_std=0.1)
    charge(ledger, "client-0", 3, run="run-2", sampling_probability=0.5)
    report = story.check()
    assert report.problems == ()
    assert any("ledger entry 13 (run 'run-2'): noise_std 0.1 is less than" in word for word in report.warnings)


def test_an_account_that_nobody_expected_is_worth_a_word(story):
    ledger = FileLedger(story.path, KEY)
    charge(ledger, "client-7", 1, ledger.lines()[-1].witness)
    assert story.check().problems == ()
    assert any("it charges 'digits/example/client-7', of which nothing" in word for word in story.check().warnings)


def test_a_device_is_checked_with_its_own_ledger_and_the_servers_anchors(tmp_path):
    """Two ledgers with two keys; each is checked alone, and the anchors of the other are not its business."""
    anchors = Anchors(tmp_path / "anchors.jsonl")
    ledgers = {"client-0": FileLedger(tmp_path / "0.jsonl", KEY), "client-1": FileLedger(tmp_path / "1.jsonl", OTHER)}
    for number in (1, 2):
        head, receipts = anchors.head(), []
        for client, ledger in ledgers.items():
            commit = ledger.commit(charge(ledger, client, number, head), payload(client, number), witness=head)
            receipts.append(Receipt(number, client, commit.hash, commit.key, commit.released))
        anchors.append(receipts)

    def check(path, client):
        expected = terms((ExpectedAccount(subject(client), client, 2),))
        return check_ledger(path, expected=expected, delta=DELTA, anchors=anchors.path)

    for client, ledger in ledgers.items():
        assert check(ledger.path, client).verified
        assert check(ledger.path, client).warnings == ()
    # client-1 begins a new ledger with a new key, and charges the same rounds to it: what it had spent is forgotten
    fresh = FileLedger(tmp_path / "new.jsonl", KEY)
    for number, witness in ((1, "0" * 64), (2, anchors.lines()[1].hash)):
        fresh.commit(charge(fresh, "client-1", number, witness), payload("client-1", number), witness=witness)
    problems = check(fresh.path, "client-1").problems
    assert problems[0].startswith("anchor 0 (round 1, 'client-0'): 'client-0' is no client of this run")
    (tmp_path / "lone.jsonl").write_bytes(b"")
    problems = check(tmp_path / "lone.jsonl", "client-1").problems
    assert "anchor 1 (round 1, 'client-1'): its ledger has the key" in " ".join(problems)
    assert "2 of 2 releases that were counted are without a charge" in problems[0]


class Central:
    """A server that adds the noise, and charges one account."""

    def __init__(self, folder, rounds=3):
        self.path = folder / "ledger.jsonl"
        ledger = FileLedger(self.path, KEY)
        self.heads = []
        for number in range(1, rounds + 1):
            entry = charge(ledger, "every", number)
            self.heads.append(ledger.head())
            ledger.commit(entry, f"{number:064x}")

    def check(self, counted=3, heads=None, released=f"{3:064x}"):
        expected = terms((ExpectedAccount(subject("every"), "", counted),), released=released)
        return check_ledger(self.path, expected=expected, delta=DELTA, heads=heads)


def test_a_server_that_adds_the_noise_is_checked_round_by_round(tmp_path):
    central = Central(tmp_path)
    kept = {"client-0": central.heads[2], "client-1": central.heads[1], "client-2": ""}
    assert central.check(heads=kept).problems == ()
    says(central.check(counted=4), "'digits/example/every': round 4 was released without a charge")
    says(central.check(released="ee" * 32), "ledger entry 5: the last committed release is 0000000000000000, the run's")
    raw = central.path.read_bytes().splitlines(keepends=True)
    central.path.write_bytes(b"".join(raw[:5]))
    says(
        central.check(heads=kept),
        "'digits/example/every': round 3 was released without a commit (entries cut off?)",
        "ledger entry 3: the last committed release is",
    )
    central.path.write_bytes(b"".join(raw[:4]))
    problems = central.check(heads=kept).problems
    assert problems[-1].startswith("'client-0' keeps the head")


@pytest.mark.slow
def test_two_accountants_are_asked_and_must_agree_on_the_order(story, monkeypatch):
    """PLD is at most RDP; where it is not, one of them is wrong. The control makes RDP too small."""
    for noise in (0.5, 1.0, 4.0):
        for probability in (0.01, 0.25, 1.0):
            for count in (1, 50):
                event = PoissonSampler(0, probability, 2).event(noise)
                pld, rdp = (epsilon([(event, count)], DELTA, name) for name in ("PLD", "RDP"))
                assert pld <= rdp * (1 + ledger_check._TOLERANCE), (noise, probability, count)
    real = ledger_check.epsilon
    monkeypatch.setattr(
        ledger_check,
        "epsilon",
        lambda events, delta, name="PLD": real(events, delta, name) * (0.5 if name == "RDP" else 1),
    )
    (problem,) = story.check().problems
    assert "by PLD is above" in problem


def test_another_key_than_the_auditor_knows_is_reported(story):
    says(story.check(public_key=OTHER.public), f"ledger entry 0: expected the key {OTHER.public.hex()[:16]}, got")
    says(story.check(public_key=b"short"), "public key: expected 32 bytes")


def test_what_is_no_ledger_is_reported(tmp_path):
    story = Story(tmp_path)
    story.path.write_bytes(b'{"format":1,"index":0}\n')
    report = story.check()
    says(report, "ledger entry 0: expected format 2, got 1")
    assert (report.entries, report.max_epsilon, report.public_key) == (0, 0.0, "")
    story.path.unlink()
    story.path.mkdir()
    says(story.check(), "cannot read ledger")
    with pytest.raises(ValueError, match="delta must be in"):
        check_ledger(tmp_path / "none", expected=terms(()), delta=0.0)


def test_no_ledger_and_nothing_counted_is_no_problem(tmp_path):
    report = check_ledger(tmp_path / "none", expected=terms(()), delta=DELTA)
    assert report.verified
    assert report.max_epsilon == report.max_epsilon_rdp == 0.0


def test_a_check_reads_and_never_writes(story):
    before = {item.name: item.read_bytes() for item in story.path.parent.iterdir()}
    story.check()
    assert {item.name: item.read_bytes() for item in story.path.parent.iterdir()} == before


def test_first_of_says_how_many_more():
    assert first_of([]) == ()
    assert first_of(["a"]) == ("a",)
    assert first_of(["a", "b", "c"]) == ("a (and 2 more like it)",)
    assert first_of(["a", "b", "c"], limit=2) == ("a", "b (and 1 more like it)")


def test_the_check_needs_no_torch():
    code = "import sys, fedcomp.audit.ledger_check; sys.exit('torch' in sys.modules or 'flwr' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lines_are_read_as_they_lie(story):
    """The helper that attacks are written with writes what the ledger writes."""
    lines = story.lines()
    story.rewrite(lambda held: held)
    assert story.lines() == lines
    assert read_line(lines[0].to_line(), None) == lines[0]
