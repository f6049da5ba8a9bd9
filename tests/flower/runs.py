"""Small runs for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from safetensors.numpy import load_file

from fedcomp.arrays import digest
from fedcomp.audit.ledger_check import LedgerReport, check_ledger
from fedcomp.audit.ledger_terms import ExpectedAccount, ExpectedCharges
from fedcomp.config import Config, config_from_dict
from fedcomp.flower import LocalGrid, client_app
from fedcomp.flower.server import carry_out
from fedcomp.observer import Observer
from fedcomp.plan import Plan, make_plan
from fedcomp.run_files import RunDirectory
from fedcomp.terms import adaptive_clip, by_example, cohort_sampler, server_mechanism

Meddle = Callable[[Message, Message, int], Message]


def tiny(**changes: Any) -> Config:
    """Three clients, three rounds, no privacy, a lossy codec both ways, nothing after the rounds."""
    tree: dict[str, Any] = {
        "task": "digits",
        "rounds": 3,
        "evaluate_every": 3,
        "uplink": [{"id": "topk", "density": 0.5}, {"id": "dither", "step_rms": 1.0}, {"id": "rans"}],
        "downlink": [{"id": "dither", "step_rms": 0.5}, {"id": "rans"}],
        "data": {"max_train_examples": 300},
        "clients": {"population": 3},
        "training": {"local_epochs": 1, "batch_size": 32, "learning_rate": 0.5},
        "student": {"enabled": False},
        "audit": {"enabled": False},
    }
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(tree.get(key), dict)
        tree[key] = {**tree[key], **value} if both else value
    return config_from_dict(tree)


def private(**changes: Any) -> Config:
    """The same under mode ``local``."""
    privacy = {
        "mode": "local",
        "noise_multiplier": 2.0,
        "target_epsilon": 50.0,
        "delta": 1e-4,
        "sampling_probability": 0.2,
        "nominal_examples": 100,
    }
    changes["privacy"] = {**privacy, **changes.get("privacy", {})}
    return tiny(training={"local_epochs": None, "local_steps": 2}, **changes)


def start(config: Config, path: Path) -> RunDirectory:
    """Return a new run's directory."""
    return RunDirectory.create(path, make_plan(config).config)


def go(run: RunDirectory, app: ClientApp | None = None, observer: Observer | None = None) -> list[dict[str, Any]]:
    """Carry out a run in this process, with ``app`` on the clients' side, and return its rows."""
    config = run.config()
    place = {"state-dir": str(run.path)}
    with LocalGrid(app or client_app(), config.clients.population, node_config=place) as grid:
        carry_out(grid, run, observer or Observer())
    return run.metrics()


def global_model(run: RunDirectory) -> dict[str, Any]:
    """Return the model that a run ended with."""
    return load_file(run.path / "global.safetensors")


def expected_charges(plan: Plan, run: RunDirectory) -> ExpectedCharges:
    """Return what the ledger of a run of this process has to hold, by its plan and its last checkpoint."""
    config, privacy, checkpoint = plan.config, plan.config.privacy, run.load_checkpoint()
    assert checkpoint is not None
    common = {"run": run.identity()["run"], "event": plan.round_event, "codec_digest": plan.uplink.digest()}
    if not plan.central:
        names = {f"client-{index}" for index in range(config.clients.population)}
        counted = checkpoint.totals["counted"]
        return ExpectedCharges(
            **common,
            sensitivity=privacy.max_grad_norm,
            noise_std=privacy.noise_multiplier * privacy.max_grad_norm,
            sampler="poisson",
            sampling_probability=privacy.sampling_probability,
            unit="example",
            accounts=tuple(ExpectedAccount(plan.subject(name), name, counted.get(name, 0)) for name in sorted(names)),
        )
    mechanism, sampler, examples = server_mechanism(config), cohort_sampler(config), by_example(config)
    moves, moving = (1.0 if examples else sampler.moves), adaptive_clip(config) is not None
    subject = plan.shared_subject()
    return ExpectedCharges(
        **common,
        sensitivity=None if moving else mechanism.sensitivity * moves,
        noise_std=None if moving else mechanism.noise_std,
        noise_over_sensitivity=mechanism.noise_std / (mechanism.sensitivity * moves),
        sampler="poisson" if examples else sampler.kind,
        sampling_probability=privacy.sampling_probability if examples else sampler.sampling_probability,
        unit=privacy.unit,
        accounts=(ExpectedAccount(subject, "", checkpoint.totals["trained"].get(subject, 0)),),
        released=digest(checkpoint.server_model.model),
    )


def check(run: RunDirectory, **more: Any) -> LedgerReport:
    """Return what the check of a run's ledger finds, with all that lies in its directory."""
    plan = make_plan(run.config())
    anchors = None if plan.central else run.anchors_path
    expected = expected_charges(plan, run)
    return check_ledger(run.ledger_path, expected=expected, delta=plan.config.privacy.delta, anchors=anchors, **more)


class Meddler(ClientApp):
    """The client's side with somebody in between who may change what a client replies to a train message."""

    def __init__(self, meddle: Meddle) -> None:
        super().__init__()
        self._inner, self._meddle = client_app(), meddle

    def __call__(self, message: Message, context: Context) -> Message:
        reply = self._inner(message, context)
        if message.metadata.message_type.startswith("train"):
            return self._meddle(message, reply, int(context.node_config["partition-id"]))
        return reply
