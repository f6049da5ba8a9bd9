"""The story of a run: config, plan, rounds, then the small model, the audit and the report."""

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedcomp.aggregation import ServerModel
from fedcomp.arrays import num_values
from fedcomp.codecs import Codec
from fedcomp.codecs.breakdown import breakdown
from fedcomp.codecs.deltas import WHOLE
from fedcomp.config import load_config
from fedcomp.crypto import KeyPair
from fedcomp.errors import RunError
from fedcomp.flower.account import account_of
from fedcomp.flower.peers import Self
from fedcomp.flower.releases import EachRelease, Releases, SharedReleases
from fedcomp.flower.rounds import RoundOutcome, Rounds
from fedcomp.observer import Observer
from fedcomp.outcome import evaluate_model, finish
from fedcomp.plan import Plan, make_plan
from fedcomp.plan.fusion import make_fusion
from fedcomp.rng import stream
from fedcomp.run_files import Checkpoint, RunDirectory
from fedcomp.state import SqliteClientState
from fedcomp.terms import draw_cohort
from fedcomp.threads import single_thread

KEPT_DELTAS = 64
"""How many versions back a client may be and still get deltas; the whole model is sent where that is smaller."""
_ZERO = {
    "uplink_bytes": 0,
    "downlink_bytes": 0,
    "uplink_fp32_bytes": 0,
    "downlink_fp32_bytes": 0,
    "refused": 0,
    "seconds": 0.0,
    "trained": {},
    "counted": {},
    "clipping_norm": 0.0,
}
"""Running sums; by client, in how many rounds it may have released an update, and in how many that was counted; and the
bound of the next round where that moves."""


def server_app(observer: Observer | None = None) -> ServerApp:
    """Return the ServerApp.

    It reads from Flower's run config either ``run-dir`` (a run that was created; it goes on after its last
    checkpoint), or ``config`` (a path) and ``out`` (where runs go; ``runs`` if left out). ``node-timeout`` is how many
    seconds it waits for the registered population to connect (60 if left out). ``key-file`` is the server's private
    key, whose public half clients may have pinned; a key is made for the run if it is left out.
    """
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        settings = context.run_config
        if settings.get("run-dir"):
            run = RunDirectory.open(Path(str(settings["run-dir"])))
        else:
            plan = make_plan(load_config(str(settings.get("config", "configs/demo.toml"))))
            run = RunDirectory.create(Path(str(settings.get("out", "runs"))) / plan.config.name, plan.config)
        timeout, key = float(settings.get("node-timeout", 60)), str(settings.get("key-file", ""))
        with single_thread():
            carry_out(grid, run, observer or Observer(), node_timeout=timeout, key_file=Path(key) if key else None)

    return app


def carry_out(
    grid: Grid, run: RunDirectory, observer: Observer, *, node_timeout: float = 60, key_file: Path | None = None
) -> None:
    """Run every round that is left, then make, audit and report what came of them.

    Raises:
        RunError: if too few clients connect, or the first round counts no update at all.
    """
    began = time.perf_counter()
    plan = make_plan(run.config())
    plan.check_shares()
    nodes = _wait_for_nodes(grid, plan.config.clients.population, node_timeout)
    checkpoint = run.load_checkpoint() or Checkpoint(0, ServerModel.initial(plan.initial_model()), _ZERO)
    run.drop_metrics_after(checkpoint.round)
    rounds = Rounds(grid, plan, _identity(run, plan, key_file), _releases(plan, run), make_fusion(plan))
    epsilons = (0.0, *plan.epsilon_by_round())
    setup = time.perf_counter() - began
    account = account_of(plan, run)
    for number in range(checkpoint.round + 1, plan.config.rounds + 1):
        started = time.perf_counter()
        bound = checkpoint.totals["clipping_norm"]
        account.charge(number, bound)
        cohort = _cohort(plan, nodes, number)
        outcome = rounds.run(number, cohort, checkpoint.server_model, bound, account.head())
        if outcome.cohort and not outcome.counted and not checkpoint.totals["counted"]:
            reasons = "; ".join(f"{item['client']}: {item['reason']}" for item in outcome.refused[:3])
            raise RunError(f"round {number} counted no update of {outcome.cohort} clients asked: {reasons or 'none'}")
        server_model = _advance(plan, checkpoint.server_model, outcome, number)
        account.settle(number, outcome.receipts, server_model.model)
        released = {"trained": account.releasing(outcome.trained), "counted": outcome.counted}
        by_client = {name: _tally(checkpoint.totals[name], names) for name, names in released.items()}
        kept = {**by_client, "clipping_norm": outcome.clipping_norm}
        epsilon = epsilons[max(by_client["trained"].values(), default=0)] if plan.private else None
        row = _row(plan, number, outcome, server_model, epsilon)
        row["seconds"] = round(time.perf_counter() - started, 4)
        checkpoint = Checkpoint(number, server_model, _add(checkpoint.totals, row, kept))
        run.append_metrics(row)
        if number == plan.config.rounds and outcome.example:
            run.write_json("bytes.json", _bytes_of(plan, outcome, num_values(server_model.model)))
        run.save_checkpoint(checkpoint)
        observer.round_done(row)
    finish(plan, run, checkpoint, observer, setup_seconds=setup)


def _advance(plan: Plan, server_model: ServerModel, outcome: RoundOutcome, number: int) -> ServerModel:
    """Return the next version: the optimizer's step on the mean, then the coded release if all get the same one.

    None without an update.
    """
    if outcome.mean is None:
        return server_model
    server = plan.config.server
    mean = plan.thinned(outcome.mean)  # without what codecs and noise have added to weights that stay zero
    moved = server_model.step(mean, learning_rate=server.learning_rate, momentum=server.momentum)
    if server.release == "each":
        return replace(moved, version=moved.version + 1)
    rng = stream(plan.config.seed, "downlink", number)
    return moved.release(lambda delta: plan.downlink.encode(delta, rng=rng), plan.downlink.decode, keep=KEPT_DELTAS)


def _releases(plan: Plan, run: RunDirectory) -> Releases:
    if plan.config.server.release == "shared":
        return SharedReleases()
    held = SqliteClientState(run.path / "held.sqlite")
    return EachRelease(plan.downlink, plan.config.seed, plan.initial_model(), held)


def _cohort(plan: Plan, nodes: Sequence[int], number: int) -> list[int]:
    return [nodes[index] for index in draw_cohort(plan.config, number)]


def _wait_for_nodes(grid: Grid, population: int, timeout: float) -> list[int]:
    deadline = time.monotonic() + timeout
    while len(nodes := sorted(grid.get_node_ids())) < population:
        if time.monotonic() > deadline:
            raise RunError(
                f"expected {population} clients (clients.population), {len(nodes)} connected in {timeout:g} s"
            )
        time.sleep(0.5)
    return nodes[:population]


def _identity(run: RunDirectory, plan: Plan, key_file: Path | None) -> Self:
    """Return the server's name for this run and its key, the same after a resume."""
    if not (run.path / "run.json").exists():
        run.write_json("run.json", {"run": f"{plan.config.name}-{secrets.token_hex(8)}", "plan": plan.digest()})
    about = run.identity()
    if about["plan"] != plan.digest():
        raise RunError(f"{run.path}: config.toml was changed since the run was started, its plan is another one")
    own = key_file or run.path / "server.key"
    if key_file is None and not own.exists():
        KeyPair.generate().save(own)
    return Self(about["run"], KeyPair.load(own), plan.config.envelope.enabled, trusted={})


def _row(
    plan: Plan, number: int, outcome: RoundOutcome, server_model: ServerModel, epsilon: float | None
) -> dict[str, Any]:
    evaluated = number % plan.config.evaluate_every == 0 or number == plan.config.rounds
    quality = evaluate_model(plan, server_model.model) if evaluated else None
    return {
        "round": number,
        "accuracy": quality.accuracy if quality else None,
        "loss": quality.loss if quality else None,
        "cohort": outcome.cohort,
        "survivors": len(outcome.counted),
        "uplink_bytes": outcome.uplink_bytes,
        "downlink_bytes": outcome.downlink_bytes,
        "uplink_fp32_bytes": outcome.uplink_fp32_bytes,
        "downlink_fp32_bytes": outcome.downlink_fp32_bytes,
        "refused": list(outcome.refused),
        "epsilon": None if epsilon is None or math.isinf(epsilon) else epsilon,
        **({} if outcome.fusion is None else {"fusion": dict(outcome.fusion)}),
    }


def _bytes_of(plan: Plan, outcome: RoundOutcome, max_values: int) -> dict[str, Any]:
    """Return where the bytes of one update went, and of the newest part of what its client was sent, for the report."""
    found, sent = _broken_down(plan.uplink, outcome.example, max_values), outcome.example_sent
    if sent is None or not sent.parts:
        return found
    whole = not sent.text("base")
    return found | {
        "downlink": {
            **_broken_down(WHOLE if whole else plan.downlink, sent.parts[-1], max_values),
            "whole": whole,
        }
    }


def _broken_down(codec: Codec, payload: bytes, max_values: int) -> dict[str, Any]:
    found = breakdown(codec, payload, max_values)
    return {
        "stages": [{"stage": name, "bytes": size} for name, size in found.stages],
        "arrays": [{"array": name, "values": values, "bytes": round(size, 1)} for name, values, size in found.arrays],
    }


def _tally(counts: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    """Return the counts with one more for each of ``names``."""
    return {**counts, **{name: counts.get(name, 0) + 1 for name in names}}


def _add(totals: Mapping[str, Any], row: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the totals with a row in them; what is ``kept`` replaces what was there."""
    counted = {**row, "refused": len(row["refused"])}
    return {**{name: value + counted[name] for name, value in totals.items() if name not in kept}, **kept}
