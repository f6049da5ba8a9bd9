"""Small runs for the tests of this folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from safetensors.numpy import load_file

from fedcomp.config import Config, config_from_dict
from fedcomp.flower import LocalGrid, client_app
from fedcomp.flower.server import carry_out
from fedcomp.observer import Observer
from fedcomp.plan import make_plan
from fedcomp.run_files import RunDirectory

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
