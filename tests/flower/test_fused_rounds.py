"""Ensemble distillation in whole runs: against the plain loop, after a kill, and with nothing charged for it."""

import numpy as np
import pytest
from flwr.app import Message
from kills import before, killed
from runs import Meddler, check, global_model, go, private, start, tiny

from fedcomp.errors import ConfigError
from fedcomp.flower import server
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.plan import make_plan
from fedcomp.privacy import FileLedger
from fedcomp.shrink.registry import STEPS
from fedcomp.simulation import resume
from simulations import reference
from teachers import Thin, dense_file

DATA = {"public_examples": 80, "partition": "dirichlet", "alpha": 0.5}
SETTINGS = {"steps": 6, "batch_size": 32, "learning_rate": 0.01}


def fused(make=tiny, fusion=None, **changes):
    return make(data=DATA, fusion={**SETTINGS, **(fusion or {})}, **changes)


def taught(path):
    return {"teacher": {"model": dense_file(path, mode="none"), "steps": [{"id": "thin"}]}}


CONFIGS = {
    "every round": lambda _: fused(),
    "every second round": lambda _: fused(fusion={"every": 2, "temperature": 3.0}, server={"momentum": 0.5}),
    "widths": lambda _: fused(clients={"population": 4, "widths": [1.0, 0.5, 0.25]}),
    "each": lambda _: fused(
        rounds=4,
        clients={"population": 5, "cohort": 2, "sampling": "bernoulli"},
        server={"release": "each", "weighting": "examples"},
    ),
    "taught": lambda path: fused(**taught(path), clients={"population": 3, "widths": [1.0, 0.5]}),
}


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    monkeypatch.setitem(STEPS, "thin", Thin)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_fused_run_equals_the_plain_loop_bit_for_bit(name, tmp_path):
    config = CONFIGS[name](tmp_path)
    run = start(config, tmp_path / "run")
    go(run)
    expected, got = reference.run(config), global_model(run)
    assert set(got) == set(expected)
    assert all(np.array_equal(got[key], array) for key, array in expected.items())
    without = reference.run(config.model_copy(update={"fusion": None}))
    assert any(not np.array_equal(got[key], array) for key, array in without.items())


def test_a_row_says_what_fusion_did_where_it_was_due(tmp_path):
    rows = go(start(fused(fusion={"every": 2, "steps": 40}), tmp_path / "run"))
    assert ["fusion" in row for row in rows] == [False, True, False]
    said = rows[1]["fusion"]
    assert said["models"] == rows[1]["survivors"] == 3
    assert 0 <= said["loss_after"] < said["loss_before"]


def test_a_fused_run_that_is_killed_goes_on_to_the_same_model(tmp_path):
    whole, broken = (start(fused(), tmp_path / name) for name in ("whole", "broken"))
    go(whole)
    # in the second round: the clients have answered, the distilled model is lost
    killed(broken, before(server, "_advance", lambda plan, model, outcome, number: number == 2))
    assert len(broken.metrics()) == 1
    resume(broken.path)
    assert [row["fusion"] for row in broken.metrics()] == [row["fusion"] for row in whole.metrics()]
    assert all(np.array_equal(global_model(broken)[name], array) for name, array in global_model(whole).items())


def test_fusion_is_charged_nothing_under_local(tmp_path):
    ledgers = {}
    for name, config in {"fused": fused(private), "mean": private(data=DATA)}.items():
        run = start(config, tmp_path / name)
        rows = go(run)
        assert [row["survivors"] for row in rows] == [3, 3, 3]
        assert check(run).problems == ()
        entries = FileLedger(run.ledger_path).entries()
        ledgers[name] = (
            [row["epsilon"] for row in rows],
            FileLedger(run.ledger_path).max_epsilon(1e-4),
            sorted((each.charge.subject, each.charge.server_round, str(each.charge.event)) for each in entries),
        )
        assert all(("fusion" in row) == (name == "fused") for row in rows)
    assert ledgers["fused"] == ledgers["mean"]
    assert len(ledgers["fused"][2]) == 3 * 3


def test_a_model_that_answers_nonsense_is_refused_by_name_and_taught_by_the_others(tmp_path):
    config = fused(uplink=[], envelope={"enabled": False})
    codec = make_plan(config).uplink

    def meddle(message, reply, client):
        frame = unpack(from_message(reply))
        if client != 1:
            return reply
        inner = unpack(frame.parts[0])
        huge = {name: np.full_like(array, 1e4) for name, array in codec.decode(inner.parts[0]).items()}
        bad = pack(Frame(inner.header, (codec.encode(huge, rng=np.random.default_rng(0)),)))
        return Message(to_record(pack(Frame(frame.header, (bad,)))), reply_to=message)

    rows = go(start(config, tmp_path / "run"), Meddler(meddle))
    assert [(row["survivors"], row["fusion"]["models"]) for row in rows] == [(2, 2)] * 3
    assert all("expected finite logits of at most 65536" in row["refused"][0]["reason"] for row in rows)


def test_a_round_without_updates_is_not_fused(tmp_path):
    def meddle(message, reply, client):
        if unpack(from_message(reply)).number("round") == 2:
            raise ZeroDivisionError("boom")
        return reply

    rows = go(start(fused(), tmp_path / "run"), Meddler(meddle))
    assert ["fusion" in row for row in rows] == [True, False, True]


@pytest.mark.parametrize("unit", ["client", "example"])
def test_a_trusted_server_may_not_teach_from_what_it_is_trusted_with(unit):
    settings = {"mode": "central", "unit": unit, "noise_multiplier": 2.0, "delta": 1e-4, "nominal_examples": 100}
    with pytest.raises(ConfigError, match=r"expected none or local to learn from client models: .* got 'central'"):
        make_plan(fused(uplink=[], privacy=settings))
