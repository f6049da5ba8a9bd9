"""The files of a run: what is written when, so that a kill at any line loses nothing.

``checkpoint.safetensors`` is the truth: it is replaced atomically after each round. ``metrics.jsonl`` gets its row
before the checkpoint that counts it; rows beyond the checkpoint are dropped on resume, because their round runs again.
``ledger.jsonl`` and ``anchors.jsonl`` get their lines before it too, and lose none: what they say has happened.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fedcomp.aggregation import ServerModel
from fedcomp.arrays import Array, digest
from fedcomp.config import Config, load_config
from fedcomp.errors import ConfigError, RunError
from fedcomp.files import append_synced, write_atomic

TURNS = "turns"
"""The one folder in a run's directory: lock files of the clients of a simulation."""
_PARTS = ("model", "released", "velocity")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands after a round: ``round`` rounds are done."""

    round: int
    server_model: ServerModel
    totals: Mapping[str, Any]
    """Running sums of the metrics (bytes, refusals, seconds), so that a resumed run reports the whole."""


@dataclass(frozen=True)
class RunDirectory:
    """One run's directory."""

    path: Path

    @staticmethod
    def create(path: Path, config: Config, *, overwrite: bool = False) -> "RunDirectory":
        """Make the directory and write ``config.toml``.

        Raises:
            RunError: if the directory exists and ``overwrite`` is not set, if it is not a run, or cannot be written.
        """
        run = RunDirectory(path)
        if path.exists():
            if not overwrite:
                raise RunError(f"run directory {path} exists: choose another --out, resume it, or pass --overwrite")
            _check_is_run(run)
        try:
            if path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"cannot make run directory {path}: {error.strerror}") from error
        write_atomic(run.config_path, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True)).encode())
        return run

    @staticmethod
    def open(path: Path) -> "RunDirectory":
        """Return an existing run's directory; raises ``RunError`` if there is none."""
        run = RunDirectory(path)
        if not run.config_path.is_file():
            raise RunError(f"{path} is not a run directory: expected a config.toml in it")
        return run

    @property
    def config_path(self) -> Path:
        """The config as it was run, every default written out."""
        return self.path / "config.toml"

    @property
    def ledger_path(self) -> Path:
        """The clients' ledger (in a simulation, all of them in one file)."""
        return self.path / "ledger.jsonl"

    @property
    def anchors_path(self) -> Path:
        """What the server keeps of its clients' ledgers under mode ``local``; see ``fedcomp.privacy.anchors``."""
        return self.path / "anchors.jsonl"

    def config(self) -> Config:
        """Return the config that the run was started with."""
        return load_config(self.config_path)

    def identity(self) -> dict[str, str]:
        """Return what makes this run itself: ``run``, its name in messages and ledgers, and ``plan``, its digest.

        Raises:
            RunError: if the run was never started, or the file is damaged.
        """
        path = self.path / "run.json"
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            return {name: str(tree[name]) for name in ("run", "plan")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: expected the run's name and plan, got: {error}") from error

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one JSON document, atomically."""
        write_atomic(self.path / name, _to_json(content, name, indent=2))

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one round's row, fsynced."""
        append_synced(self.path / "metrics.jsonl", _to_json(row, "metrics.jsonl"))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the rows of the rounds that are done; a last row that a kill cut in half is left out.

        Raises:
            RunError: if any other row is damaged: no kill does that.
        """
        path = self.path / "metrics.jsonl"
        return list(_whole_rows(path)) if path.exists() else []

    def drop_metrics_after(self, last_round: int) -> None:
        """Keep the rows of rounds up to ``last_round``; also drops a row that a kill cut in half."""
        path = self.path / "metrics.jsonl"
        if path.exists():
            kept = [row for row in self.metrics() if row["round"] <= last_round]
            write_atomic(path, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        server = checkpoint.server_model
        # in C order, because safetensors writes the memory of an array as it lies; a transposed one came back wrong
        tensors: dict[str, Array] = {
            f"{part}/{name}": np.asarray(array, order="C")
            for part in _PARTS
            for name, array in getattr(server, part).items()
        }
        tensors |= {f"delta/{i}": np.frombuffer(delta, np.uint8) for i, delta in enumerate(server.deltas)}
        about = {
            "names": json.dumps(list(server.model)),
            "deltas": str(len(server.deltas)),
            "round": str(checkpoint.round),
            "version": str(server.version),
            "totals": json.dumps(checkpoint.totals),
        }
        about["digest"] = _checkpoint_digest(about, tensors)
        write_atomic(self.path / "checkpoint.safetensors", save_safetensors(tensors, metadata=about))

    def load_checkpoint(self) -> Checkpoint | None:
        """Return the last checkpoint, or None if no round was finished.

        Raises:
            RunError: if there is one and it is damaged.
        """
        path = self.path / "checkpoint.safetensors"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"cannot read checkpoint {path}: {error.strerror}") from error
        try:
            return _parse_checkpoint(content)
        except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
            raise RunError(f"checkpoint {path} is damaged: {error}") from error


def _parse_checkpoint(content: bytes) -> Checkpoint:
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    tensors = load_safetensors(content)
    if metadata.pop("digest") != _checkpoint_digest(metadata, tensors):
        raise ValueError("its content and its digest differ")
    parts = {part: {name: tensors[f"{part}/{name}"] for name in json.loads(metadata["names"])} for part in _PARTS}
    deltas = tuple(tensors[f"delta/{i}"].tobytes() for i in range(int(metadata["deltas"])))
    server = ServerModel(version=int(metadata["version"]), deltas=deltas, **parts)
    return Checkpoint(round=int(metadata["round"]), server_model=server, totals=json.loads(metadata["totals"]))


def _checkpoint_digest(about: Mapping[str, str], tensors: Mapping[str, Array]) -> str:
    """Return a digest over a whole checkpoint: the format has none, and a flipped bit is a changed model."""
    content = digest({name: tensors[name] for name in sorted(tensors)})
    return hashlib.sha256(json.dumps([content, sorted(about.items())]).encode()).hexdigest()


def _check_is_run(run: RunDirectory) -> None:
    """Refuse to replace anything but an empty directory or a run: all of it would be deleted."""
    if not run.path.is_dir():
        raise RunError(f"{run.path} is no directory: refusing to overwrite it")
    held = list(run.path.iterdir())
    if held and not run.config_path.is_file():
        raise RunError(f"{run.path} holds no run (no config.toml): refusing to overwrite what it holds")
    if folders := [item.name for item in held if item.is_dir() and item.name != TURNS]:
        raise RunError(f"{run.path} holds more than a run (the folder {folders[0]!r}): refusing to overwrite it")
    if held:
        try:
            run.config()
        except ConfigError as error:
            raise RunError(f"{run.path} holds no run (another config.toml): refusing to overwrite it") from error


def _to_json(content: Mapping[str, Any], name: str, indent: int | None = None) -> bytes:
    try:
        return (json.dumps(content, indent=indent, allow_nan=False) + "\n").encode()
    except ValueError as error:
        found = [key for key, value in content.items() if isinstance(value, float) and not math.isfinite(value)]
        raise RunError(f"{name}: expected finite numbers, got others at {found}; has the model diverged?") from error


def _whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise RunError(f"{path}: line {number} is damaged: {error}") from error
            return
        if not isinstance(row, dict) or not isinstance(row.get("round"), int):
            raise RunError(f"{path}: line {number} is damaged: expected an object with a round")
        yield row
