"""Mode central: one shared account charged before each round, secret cohorts, noise in rounds that nobody came to."""

import math
from itertools import pairwise

import numpy as np
import pytest
from runs import Meddler, global_model, go, start, tiny

from fedcomp.aggregation import private_sum
from fedcomp.config import config_from_dict
from fedcomp.errors import ConfigError, FedcompError
from fedcomp.flower import rounds, server
from fedcomp.flower.messages import Frame
from fedcomp.plan import make_plan
from fedcomp.privacy import BudgetExceeded, FileLedger

CLIENT = {"mode": "central", "unit": "client", "clipping_norm": 0.5, "noise_multiplier": 0.1, "delta": 1e-2}
EXAMPLE = {
    "mode": "central",
    "unit": "example",
    "noise_multiplier": 0.5,
    "delta": 1e-3,
    "sampling_probability": 0.2,
    "nominal_examples": 100,
}


def central(privacy=CLIENT, **changes):
    return tiny(privacy=privacy, **changes)


def by_example(**changes):
    return tiny(privacy=EXAMPLE, uplink=[], training={"local_epochs": None}, **changes)


@pytest.mark.parametrize("config", [central(), by_example()], ids=["client", "example"])
def test_every_round_is_charged_to_one_account(config, tmp_path):
    run = start(config, tmp_path / "run")
    rows = go(run)
    plan, ledger = make_plan(run.config()), FileLedger(run.path / "ledger.jsonl")
    charges = [entry.charge for entry in ledger.entries()]
    assert [charge.server_round for charge in charges] == [1, 2, 3]
    assert {charge.subject for charge in charges} == {plan.shared_subject()}
    assert {charge.unit for charge in charges} == {config.privacy.unit}
    assert rows[-1]["epsilon"] == pytest.approx(ledger.epsilon(plan.shared_subject(), config.privacy.delta), rel=1e-3)
    assert [row["survivors"] for row in rows] == [3, 3, 3]


def test_one_client_cannot_move_the_model_farther_than_the_bound(tmp_path, monkeypatch):
    """Clients whose clip is cut out of their code change nothing: what is decoded is clipped again."""
    monkeypatch.setattr(private_sum, "SecretStream", Silence)
    config = central(rounds=1, evaluate_every=1, uplink=[], downlink=[])
    first = start(config, tmp_path / "with")
    go(first)
    start_model = make_plan(config).initial_model()
    honest = global_model(first)
    monkeypatch.setattr("fedcomp.flower.client.server_mechanism", lambda *_: Unclipped())
    second = start(config, tmp_path / "without")
    go(second)
    moved = {name: np.abs(global_model(second)[name] - honest[name]).max() for name in honest}
    assert max(moved.values()) < 1e-5, "the server clips what a client did not"
    length = np.sqrt(sum(float(np.sum((honest[name] - start_model[name]) ** 2)) for name in honest))
    assert 0.1 < length <= 0.5 * (1 + 1e-6)


def test_headroom_fills_up_what_a_lossy_codec_takes_from_an_updates_length(tmp_path, monkeypatch):
    monkeypatch.setattr(private_sum, "SecretStream", Silence)
    lengths = []
    for headroom in (1.0, 8.0):
        privacy = CLIENT | {"clipping_headroom": headroom}
        uplink = [{"id": "topk", "density": 0.05}]
        run = start(central(privacy, rounds=1, evaluate_every=1, uplink=uplink, downlink=[]), tmp_path / f"{headroom}")
        go(run)
        before = make_plan(run.config()).initial_model()
        lengths.append(
            np.sqrt(sum(float(np.sum((array - before[name]) ** 2)) for name, array in global_model(run).items()))
        )
    assert lengths[0] < 0.9 * lengths[1]
    assert lengths[1] <= 0.5 * (1 + 1e-6), "the server's clip counts, whatever the client's was"


class Silence:
    """A stream of zeros, to see the sum alone."""

    def standard_normal(self, size):
        return np.zeros(size)


class Unclipped:
    """A client's mechanism that does not clip."""

    def clip(self, arrays):
        return dict(arrays), 0.0


def test_a_round_to_which_nobody_comes_is_a_round_of_noise(tmp_path, monkeypatch):
    clients = {"population": 3, "cohort": 1, "sampling": "bernoulli"}
    run = start(central(clients=clients, rounds=2, downlink=[]), tmp_path / "run")
    monkeypatch.setattr(server, "_cohort", lambda *_: [])
    rows = go(run)
    assert [row["cohort"] for row in rows] == [0, 0]
    initial = make_plan(run.config()).initial_model()
    assert all(np.abs(array - initial[name]).max() > 0 for name, array in global_model(run).items())
    assert len(FileLedger(run.path / "ledger.jsonl").entries()) == 2


def test_cohorts_that_amplify_are_secret_and_others_follow_the_seed(monkeypatch):
    drawn = {}
    for sampling in ("bernoulli", "fixed"):
        clients = {"population": 200, "cohort": 100, "sampling": sampling}
        plan = make_plan(central({**CLIENT, "delta": 1e-3}, clients=clients, data={"max_train_examples": 600}))
        drawn[sampling] = [tuple(server._cohort(plan, range(200), 1)) for _ in range(2)]
    assert drawn["bernoulli"][0] != drawn["bernoulli"][1]
    assert drawn["fixed"][0] == drawn["fixed"][1]


def test_noise_comes_from_the_secret_stream(tmp_path, monkeypatch):
    made = []
    real = private_sum.SecretStream
    monkeypatch.setattr(private_sum, "SecretStream", lambda: (made.append(1), real())[1])
    models = []
    for name in ("one", "two"):
        run = start(central(rounds=1, evaluate_every=1), tmp_path / name)
        go(run)
        models.append(global_model(run))
    assert len(made) == 2
    assert any(not np.array_equal(models[0][name], models[1][name]) for name in models[0])


def test_the_budget_ends_the_run_before_anybody_is_asked(tmp_path):
    run = start(central({**CLIENT, "noise_multiplier": 1.0, "target_epsilon": 3.0}), tmp_path / "run")
    asked = []
    meddler = Meddler(lambda message, reply, number: (asked.append(number), reply)[1])
    with pytest.raises(BudgetExceeded, match=r"every client' for each client would go from"):
        go(run, meddler)
    assert 0 < len(FileLedger(run.path / "ledger.jsonl").entries()) < 3
    assert len(asked) == 3 * len(FileLedger(run.path / "ledger.jsonl").entries())


def test_a_round_that_was_killed_is_charged_anew(tmp_path, monkeypatch):
    run = start(central(), tmp_path / "run")
    monkeypatch.setattr("fedcomp.run_files.RunDirectory.save_checkpoint", _killed_in_round_2)
    with pytest.raises(KeyboardInterrupt):
        go(run)
    monkeypatch.undo()
    go(run)
    charges = [entry.charge for entry in FileLedger(run.path / "ledger.jsonl").entries()]
    assert [charge.server_round for charge in charges] == [1, 2, 2, 3]
    assert len({charge.release for charge in charges if charge.server_round == 2}) == 2


def _killed_in_round_2(self, checkpoint):
    if checkpoint.round == 2:
        raise KeyboardInterrupt
    _SAVE(self, checkpoint)


_SAVE = server.RunDirectory.save_checkpoint


ADAPTIVE = {**CLIENT, "clipping_norm": 0.01, "clipping_quantile": 0.5, "clipping_bit_noise": 0.06}


def test_a_bound_that_moves_is_used_by_all_and_written_down(tmp_path):
    """All norms are above the bound, so it rises by the rate times the quantile each round.

    But for noise of .02 on the logarithm: a false alarm is five deviations, one in a million.
    """
    run = start(central({**ADAPTIVE, "clipping_rate": 1.0}), tmp_path / "run")
    go(run)
    charges = [entry.charge for entry in FileLedger(run.path / "ledger.jsonl").entries()]
    bounds = [charge.sensitivity for charge in charges]
    assert bounds[0] == 0.01
    assert all(0.4 < math.log(after / before) < 0.6 for before, after in pairwise(bounds))
    multiplier = (0.1**-2 - (2 * 0.06) ** -2) ** -0.5
    assert [charge.noise_std / charge.sensitivity for charge in charges] == pytest.approx([multiplier] * 3)
    assert len({charge.event for charge in charges}) == 1, "sum and bits are one event, whatever the bound"
    following = run.load_checkpoint().totals["clipping_norm"]
    assert following > bounds[-1]


def test_the_bound_survives_a_restart(tmp_path, monkeypatch):
    run = start(central(ADAPTIVE), tmp_path / "run")
    monkeypatch.setattr("fedcomp.run_files.RunDirectory.save_checkpoint", _killed_in_round_2)
    with pytest.raises(KeyboardInterrupt):
        go(run)
    monkeypatch.undo()
    moved = run.load_checkpoint().totals["clipping_norm"]
    assert moved > 0.01
    go(run)
    charges = [entry.charge for entry in FileLedger(run.path / "ledger.jsonl").entries()]
    assert [charge.sensitivity for charge in charges[1:3]] == [moved, moved]


def test_a_client_that_says_more_than_one_bit_is_refused():
    assert rounds._bit(Frame({"within": 1}))
    for value in (2, -1, True, 10**6, 0.5, "1", None):
        with pytest.raises(FedcompError):
            rounds._bit(Frame({"within": value}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"envelope": {"enabled": False}}, "a raw update leaves the client unsealed"),
        ({"server": {"weighting": "examples"}}, "a weight multiplies the sensitivity"),
        ({"privacy": EXAMPLE, "training": {"local_epochs": None}}, "uplink: expected no stage under mode central"),
    ],
)
def test_what_would_break_the_claim_is_refused(changes, words):
    with pytest.raises(ConfigError, match=words):
        make_plan(central(**changes))


def test_the_config_is_read_as_it_is_written():
    assert config_from_dict({"privacy": CLIENT}).privacy.clipping_norm == 0.5
