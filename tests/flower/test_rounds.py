"""Whole runs over Flower's messages, against the plain loop, and with somebody in between."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from runs import Meddler, global_model, go, private, start, tiny

from fedcomp.arrays import digest
from fedcomp.codecs import codec_from_config
from fedcomp.crypto import KeyPair
from fedcomp.errors import RunError
from fedcomp.flower import LocalGrid, client, client_app, place
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.flower.server import carry_out, server_app
from fedcomp.observer import Observer
from fedcomp.plan import make_plan
from fedcomp.privacy import FileLedger, epsilon
from fedcomp.rng import stream
from fedcomp.run_files import RunDirectory
from fedcomp.shrink import load_arrays
from fedcomp.simulation import simulate
from simulations import reference

CONFIGS = {
    "everybody": tiny(),
    "fp32": tiny(uplink=[], downlink=[]),
    "cohort": tiny(rounds=5, clients={"population": 6, "cohort": 2, "sampling": "fixed"}),
    "bernoulli": tiny(rounds=5, clients={"population": 6, "cohort": 2, "sampling": "bernoulli"}, seed=3),
    "weighted": tiny(data={"partition": "dirichlet", "alpha": 1.0}, server={"weighting": "examples", "momentum": 0.5}),
    "feedback": tiny(
        rounds=5,
        clients={"population": 4, "cohort": 2, "sampling": "fixed"},
        uplink=[{"id": "feedback", "decay": 1.0}, {"id": "topk", "density": 0.05}, {"id": "rans"}],
    ),
    "each": tiny(rounds=5, clients={"population": 4, "cohort": 2, "sampling": "fixed"}, server={"release": "each"}),
    "reference": tiny(uplink=[{"id": "delta"}, {"id": "float16"}]),
    "importance": tiny(uplink=[{"id": "importance-topk", "density": 0.1}, {"id": "rans"}]),
    "open": tiny(envelope={"enabled": False}),
    "widths": tiny(clients={"population": 4, "widths": [1.0, 0.5, 0.25]}),
    "no client is whole": tiny(clients={"population": 3, "widths": [0.5, 0.25]}, server={"momentum": 0.5}),
    "widths and weights": tiny(
        rounds=5,
        clients={"population": 6, "cohort": 2, "sampling": "fixed", "widths": [0.25, 1.0]},
        data={"partition": "dirichlet", "alpha": 1.0},
        server={"weighting": "examples", "release": "each"},
        uplink=[{"id": "feedback", "decay": 1.0}, {"id": "delta"}, {"id": "topk", "density": 0.2}, {"id": "rans"}],
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_flower_run_equals_the_plain_loop_bit_for_bit(name, tmp_path):
    run = start(CONFIGS[name], tmp_path / "run")
    go(run)
    expected = reference.run(CONFIGS[name])
    got = global_model(run)
    assert set(got) == set(expected)
    for key, array in expected.items():
        assert np.array_equal(got[key], array), key


def test_a_client_with_a_policy_does_not_join_what_breaks_it(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text('tasks = ["another"]\nmax_epsilon = 1.0\n')
    run = start(tiny(), tmp_path / "run")
    place = {"state-dir": str(run.path), "policy-file": str(policy)}
    with (
        LocalGrid(client_app(), 3, node_config=place) as grid,
        pytest.raises(RunError, match=r"tasks: expected one of \['another'\], got 'digits'; max_epsilon"),
    ):
        carry_out(grid, run, Observer())


def test_a_policy_caps_what_a_run_may_spend(tmp_path):
    policy = tmp_path / "policy.toml"
    policy.write_text("max_epsilon = 0.9\n")
    run = start(private(), tmp_path / "run")
    with LocalGrid(client_app(), 3, node_config={"state-dir": str(run.path), "policy-file": str(policy)}) as grid:
        carry_out(grid, run, Observer())
    rows = run.metrics()
    assert [row["survivors"] for row in rows] == [3, 3, 0]
    assert all("BudgetExceeded" in refused["reason"] for refused in rows[-1]["refused"])


def test_the_comparison_notices_one_value_that_differs(tmp_path):
    run = start(tiny(), tmp_path / "run")
    go(run)
    other = reference.run(tiny(seed=1))
    assert any(not np.array_equal(global_model(run)[key], array) for key, array in other.items())


def test_the_result_does_not_depend_on_the_number_of_workers(tmp_path):
    models = []
    for workers in (0, 1, 2):
        result = simulate(tiny(engine={"workers": workers}), out=tmp_path / str(workers))
        models.append(digest(load_arrays(result.path / "global.safetensors")[0]))
    assert models[0] == models[1] == models[2]


def test_bytes_in_the_rows_are_those_that_crossed(tmp_path):
    crossed, inner = {"up": 0, "down": 0}, client_app()

    class Proxy(ClientApp):
        def __call__(self, message, context):
            crossed["down"] += len(from_message(message))
            reply = inner(message, context)
            crossed["up"] += len(from_message(reply))
            return reply

    rows = go(start(tiny(), tmp_path / "run"), Proxy())
    assert sum(row["uplink_bytes"] for row in rows) == crossed["up"]
    assert sum(row["downlink_bytes"] for row in rows) == crossed["down"]


def test_clients_with_different_links_send_what_theirs_carry_and_count_alike(tmp_path):
    config = tiny(uplink=[{"id": "auto", "bits": 32.0}], clients={"population": 3, "uplink_bytes": [500, 1500, 4000]})
    sizes, seen = {}, client._encode

    def spy(plan, protected, name, number, context):
        reply, kept = seen(plan, protected, name, number, context)
        sizes[name, number] = len(unpack(reply).parts[0])
        return reply, kept

    client._encode = spy
    try:
        rows = go(start(config, tmp_path / "run"))
    finally:
        client._encode = seen
    assert [row["survivors"] for row in rows] == [3, 3, 3]
    for number in (1, 2, 3):
        assert 400 < sizes["client-0", number] <= 500 < sizes["client-1", number] <= 1500
        assert sizes["client-1", number] < sizes["client-2", number] <= 4000


def test_a_measured_link_limits_the_next_update(tmp_path):
    """Nothing is known in the first round; in the second, a microsecond of the link carries next to nothing."""
    config = tiny(uplink=[{"id": "auto", "bits": 32.0}], server={"upload_seconds": 1e-6}, rounds=2)
    rows = go(start(config, tmp_path / "run"))
    assert rows[1]["uplink_bytes"] < rows[0]["uplink_bytes"] / 3
    assert rows[1]["survivors"] == 3


def test_a_client_that_draws_the_same_weights_is_not_sent_version_0(tmp_path):
    """And one that draws others gets the whole model, by its digest."""
    plain = simulate(tiny(rounds=1, uplink=[], downlink=[]), out=tmp_path / "plain").summary["downlink_bytes"]
    run = start(tiny(rounds=1, uplink=[], downlink=[]), tmp_path / "run")

    class Stranger(Meddler):
        def __call__(self, message, context):
            frame = unpack(from_message(message))
            if "initial" in frame.header:
                other = pack(Frame({**frame.header, "initial": "0" * 64}, frame.parts))
                message.content = to_record(other)
            return super().__call__(message, context)

    rows = go(run, Stranger(lambda message, reply, client: reply))
    model = 4 * sum(array.size for array in make_plan(tiny()).initial_model().values())
    assert plain < model
    assert rows[0]["downlink_bytes"] > 3 * model
    assert rows[0]["survivors"] == 3


@pytest.mark.parametrize("release", ["shared", "each"])
def test_a_client_whose_reply_was_lost_counts_again_in_the_next_round(release, tmp_path):
    """The server does not know which model such a client holds: deltas from the wrong one would be refused there."""

    def meddle(message, reply, client):
        if client == 1 and unpack(from_message(reply)).number("round") == 2:
            return Message(to_record(_flip(message, reply)), reply_to=message)
        return reply

    rows = go(start(tiny(rounds=4, server={"release": release}), tmp_path / "run"), Meddler(meddle))
    assert [row["survivors"] for row in rows] == [3, 2, 3, 3]


def _flip(message, reply):
    content = bytearray(from_message(reply))
    content[-20] ^= 1
    return bytes(content)


def _truncate(message, reply):
    return from_message(reply)[:-7]


def _shorten_envelope(message, reply):
    frame = unpack(from_message(reply))
    return pack(Frame(frame.header, (frame.parts[0][:30],)))


def _claim_another(message, reply):
    frame = unpack(from_message(reply))
    return pack(Frame({**frame.header, "client": "client-0"}, frame.parts))


def _bomb(message, reply):
    return b"\xff" * 64


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (_flip, "tampered"),
        (_truncate, "damaged"),
        (_shorten_envelope, "truncated"),
        (_claim_another, "expected one payload of 'client-1'"),
        (_bomb, "message header"),
    ],
)
def test_a_bad_payload_is_refused_by_name_and_the_round_goes_on(attack, reason, tmp_path):
    def meddle(message, reply, client):
        return Message(to_record(attack(message, reply)), reply_to=message) if client == 1 else reply

    rows = go(start(tiny(), tmp_path / "run"), Meddler(meddle))
    assert all(row["survivors"] == 2 for row in rows)
    assert all([item["client"] for item in row["refused"]] == ["client-1"] for row in rows)
    assert all(reason in row["refused"][0]["reason"] for row in rows), rows[0]["refused"]


def test_last_rounds_payload_is_refused_as_replayed(tmp_path):
    kept = {}

    def meddle(message, reply, client):
        if client != 1:
            return reply
        fresh = unpack(from_message(reply))
        old = kept.setdefault("part", fresh.parts[0])
        return Message(to_record(pack(Frame(fresh.header, (old,)))), reply_to=message)

    rows = go(start(tiny(), tmp_path / "run"), Meddler(meddle))
    assert [row["survivors"] for row in rows] == [3, 2, 2]
    assert "replayed" in rows[1]["refused"][0]["reason"]


def test_another_clients_payload_is_refused_as_swapped(tmp_path):
    kept = {}

    def meddle(message, reply, client):
        fresh = unpack(from_message(reply))
        kept[client] = fresh.parts[0]
        if client != 1:
            return reply
        return Message(to_record(pack(Frame(fresh.header, (kept[0],)))), reply_to=message)

    rows = go(start(tiny(), tmp_path / "run"), Meddler(meddle))
    assert [row["survivors"] for row in rows] == [2, 2, 2]
    assert all("swapped" in row["refused"][0]["reason"] for row in rows)


def test_flowers_own_arrays_are_refused(tmp_path):
    def meddle(message, reply, client):
        record = RecordDict({"fedcomp": ArrayRecord([np.zeros(3, np.float32)])})
        return Message(record, reply_to=message) if client == 1 else reply

    rows = go(start(tiny(), tmp_path / "run"), Meddler(meddle))
    assert [row["survivors"] for row in rows] == [2, 2, 2]
    assert "fedcomp.v1" in rows[0]["refused"][0]["reason"]


def test_a_client_that_raises_is_left_out(tmp_path):
    def meddle(message, reply, client):
        if client == 1:
            raise ZeroDivisionError("boom")
        return reply

    rows = go(start(tiny(), tmp_path / "run"), Meddler(meddle))
    assert [row["survivors"] for row in rows] == [2, 2, 2]
    assert "ZeroDivisionError: boom" in rows[0]["refused"][0]["reason"]


def test_a_poisoned_update_is_refused_by_array_name(tmp_path):
    config = tiny(uplink=[], envelope={"enabled": False})
    run = start(config, tmp_path / "run")

    def meddle(message, reply, client):
        if client != 1:
            return reply
        frame = unpack(from_message(reply))
        inner = unpack(frame.parts[0])
        codec = codec_from_config([])
        update = codec.decode(inner.parts[0])
        next(iter(update.values())).flat[0] = np.nan
        bad = pack(Frame(inner.header, (codec.encode(update, rng=stream(0)),)))
        return Message(to_record(pack(Frame(frame.header, (bad,)))), reply_to=message)

    rows = go(run, Meddler(meddle))
    assert [row["survivors"] for row in rows] == [2, 2, 2]
    assert "NaN" in rows[0]["refused"][0]["reason"]
    assert all(np.isfinite(array).all() for array in global_model(run).values())


def test_nobody_left_in_the_first_round_ends_the_run_with_reasons(tmp_path):
    def meddle(message, reply, client):
        raise ZeroDivisionError("boom")

    with pytest.raises(RunError, match=r"counted no update of 3 clients.*boom"):
        go(start(tiny(), tmp_path / "run"), Meddler(meddle))


def test_a_private_run_is_charged_once_a_client_and_round(tmp_path):
    config = private()
    run = start(config, tmp_path / "run")
    rows = go(run)
    entries = FileLedger(run.ledger_path).entries()
    keys = {(entry.charge.subject, entry.charge.server_round) for entry in entries}
    assert len(entries) == len(keys) == 3 * 3
    # conformance: T rounds in the ledger cost what one accountant says of T times the steps
    event = entries[0].charge.event
    assert FileLedger(run.ledger_path).max_epsilon(1e-4) == pytest.approx(epsilon([(event, 3)], 1e-4))
    assert rows[-1]["epsilon"] == pytest.approx(FileLedger(run.ledger_path).max_epsilon(1e-4))
    assert rows[0]["epsilon"] < rows[1]["epsilon"] < rows[2]["epsilon"]


def test_a_private_client_sends_neither_its_number_of_examples_nor_a_loss(tmp_path):
    seen = []
    config = private(envelope={"enabled": False})

    def look(message, reply, _):
        frame = unpack(from_message(reply))
        seen.append((set(frame.header), set(unpack(frame.parts[0]).header)))
        return reply

    go(start(config, tmp_path / "run"), Meddler(look))
    assert len(seen) == 9
    assert all(outer == {"client", "round"} and inner == {"head", "ledger"} for outer, inner in seen)


def test_a_spent_budget_is_refused_before_training(tmp_path):
    config = private(rounds=6)
    afforded = epsilon([(make_plan(config).round_event, 2)], 1e-4)
    config = private(rounds=6, privacy={"target_epsilon": afforded * 1.001})
    run = start(config, tmp_path / "run")
    rows = go(run)
    assert [row["survivors"] for row in rows] == [3, 3, 0, 0, 0, 0]
    # what was refused was not spent
    assert [row["epsilon"] for row in rows[1:]] == pytest.approx([afforded] * 5, rel=1e-2)
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["epsilon"]["value"] == pytest.approx(FileLedger(run.ledger_path).max_epsilon(1e-4))
    assert "BudgetExceeded" in rows[2]["refused"][0]["reason"]
    assert len(FileLedger(run.ledger_path).entries()) == 6


def test_a_damaged_ledger_stops_training(tmp_path):
    run = start(private(), tmp_path / "run")
    (run.path / "ledger.jsonl").write_bytes(b'{"index": 0}\n')
    place._belongings.cache_clear()
    with pytest.raises(RunError, match="LedgerError"):
        go(run)


def test_a_changed_config_is_another_plan(tmp_path):
    run = start(tiny(), tmp_path / "run")
    go(run)
    text = run.config_path.read_text()
    run.config_path.write_text(text.replace("learning_rate = 0.5", "learning_rate = 0.6"))
    with pytest.raises(RunError, match="changed since the run was started"):
        go(run)


def test_a_client_that_is_called_away_and_back_is_charged_for_every_noise(tmp_path):
    """A server that greets a client for another run and back again must not get two noises for one charge."""
    payloads, run = set(), start(private(rounds=1), tmp_path / "run")
    other = start(private(rounds=1, seed=5), tmp_path / "other")

    def look(message, reply, client):
        payloads.add(unpack(from_message(reply)).parts[0])
        return reply

    for _ in range(3):
        for path in (run.path, other.path):
            for name in ("checkpoint.safetensors", "metrics.jsonl"):
                (path / name).unlink(missing_ok=True)
            with LocalGrid(Meddler(look), 3, node_config={"state-dir": str(tmp_path)}) as grid:
                carry_out(grid, RunDirectory.open(path), Observer())
    charged = len(FileLedger(tmp_path / "ledger.jsonl").entries())
    assert charged == len(payloads) == 3 * 2 * 3


def test_copies_of_one_message_answered_at_once_get_one_noise(tmp_path):
    """Two threads that both find the round unanswered would release two noises under one charge."""
    inner, same = client_app(), []

    class Twice(ClientApp):
        def __call__(self, message, context):
            if not message.metadata.message_type.startswith("train"):
                return inner(message, context)
            with ThreadPoolExecutor(3) as threads:
                replies = [each.result() for each in [threads.submit(inner, message, context) for _ in range(3)]]
            same.append(len({from_message(reply) for reply in replies}))
            return replies[0]

    # payloads are not sealed here: every sealing has a nonce of its own and would differ anyway
    run = start(private(rounds=2, envelope={"enabled": False}), tmp_path / "run")
    go(run, Twice())
    assert same == [1] * 6
    assert len(FileLedger(run.ledger_path).entries()) == 6


def test_a_server_cannot_change_the_plan_of_a_run_that_was_joined(tmp_path):
    run = start(private(rounds=1), tmp_path / "run")
    go(run)
    name = json.loads((run.path / "run.json").read_text())["run"]
    weaker = make_plan(tiny())
    header = {"run": name, "config": weaker.config.to_json(), "plan": weaker.digest(), "server_key": "00" * 32}
    with LocalGrid(client_app(), 3, node_config={"state-dir": str(run.path)}) as grid:
        message = Message(to_record(pack(Frame(header))), 1, "query.hello")
        (reply,) = grid.send_and_receive([message])
    assert "joined under another plan" in unpack(from_message(reply)).text("refused")


def test_clients_answer_the_server_whose_key_they_pinned_and_no_other(tmp_path):
    pinned, other = KeyPair.generate(), KeyPair.generate()
    pinned.save(tmp_path / "pinned.key")
    other.save(tmp_path / "other.key")
    for name in ("pinned", "other"):
        run = start(tiny(name=name), tmp_path / name)
        place = {"state-dir": str(run.path), "server-public-key": pinned.public_text()}
        with LocalGrid(client_app(), 3, node_config=place) as grid:
            work = partial(grid.serve, server_app(), {"run-dir": str(run.path), "key-file": f"{tmp_path}/{name}.key"})
            if name == "pinned":
                work()
                assert [row["survivors"] for row in run.metrics()] == [3, 3, 3]
            else:
                with pytest.raises(RunError, match="not the pinned one"):
                    work()
