"""Whole runs of mode ``local`` for ``benchmarks.local_mode``: each cut with its codec, in a process of its own.

The demo's silos, rounds and hyper-parameters (``configs/demo.toml``), none of them tuned for a cut. The downlink is
fp32, so that what a row loses was lost on the way up.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.kept_runs import outcome_of
from benchmarks.local_mask import register
from benchmarks.local_tasks import UNCUT, make_cut

CLIENTS = 10
BASE: dict[str, Any] = {
    "evaluate_every": 10,
    "data": {"public_examples": 5000},
    "clients": {"population": CLIENTS},
    "training": {"local_steps": 1, "learning_rate": 12.0},
    "server": {"momentum": 0.9},
    "privacy": {
        "mode": "local",
        "target_epsilon": 3.0,
        "delta": 1e-5,
        "max_grad_norm": 0.1,
        "sampling_probability": 0.25,
        "nominal_examples": 5500,
    },
    "student": {"enabled": False},
    "audit": {"enabled": False},
}


@dataclass(frozen=True)
class Setting:
    """A cut, and the rate of the dithered ``rate`` on what is left; None is fp32."""

    cut: str
    bits: float | None = 2.25

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.cut}, {'fp32' if self.bits is None else f'rate {self.bits:g}'}"


REFERENCE = Setting("uncut", None)
SETTINGS = (
    REFERENCE,
    *(Setting("uncut", bits) for bits in (2.25, 0.5, 0.25)),
    *(Setting(f"projection_{ratio}") for ratio in (2, 4, 8, 16)),
    Setting("subset_4"),
    *(Setting(f"pooling_{side}") for side in (5, 3)),
    *(Setting(f"rank_{rank}") for rank in (5, 2)),
    *(Setting(f"moving_{ratio}") for ratio in (2, 4, 8, 16, 32, 64)),
    Setting("moving_8", None),
    Setting("after_8"),
)
"""What is compared: quantizing harder, and each way to cut, at about equal bytes."""


@dataclass(frozen=True)
class Outcome:
    """One run: accuracy of the last model, bytes of messages over all rounds, and what the ledger says was spent."""

    accuracy: float
    uplink_bytes: int
    downlink_bytes: int
    epsilon: Mapping[str, Any]
    noise_multiplier: float
    seconds: float


def config_of(setting: Setting, seed: int, rounds: int) -> dict[str, Any]:
    """Return the config of a run."""
    cut = make_cut(setting.cut)
    coded = [] if setting.bits is None else [{"id": "rate", "bits": setting.bits, "dither": True}]
    training, privacy = BASE["training"], BASE["privacy"]
    return {
        **BASE,
        "task": f"benchmarks.local_tasks:{setting.cut}",
        "seed": seed,
        "rounds": rounds,
        "uplink": [*cut.stages, *coded],
        "training": {**training, "learning_rate": training["learning_rate"] * cut.step},
        "privacy": {**privacy, "max_grad_norm": privacy["max_grad_norm"] * cut.clip},
    }


def carry_out(setting: Setting, seed: int, rounds: int, keep: Path | None) -> Outcome:
    """Return what a run gave; one that was kept is not carried out again."""
    described = json.dumps(config_of(setting, seed, rounds), sort_keys=True)
    kept = keep / (hashlib.sha256(described.encode()).hexdigest()[:16] + ".json") if keep else None
    outcome = Outcome(**outcome_of("benchmarks.local_runs:child", described, kept))
    sys.stderr.write(f"{setting.name}, seed {seed}: accuracy {outcome.accuracy:.4f} in {outcome.seconds:.0f} s\n")
    return outcome


def child() -> None:
    """Carry out the run that standard input describes, and print its outcome."""
    asked = json.load(sys.stdin)
    import fedcomp
    from fedcomp.config import config_from_dict
    from fedcomp.run_files import RunDirectory

    register()
    with tempfile.TemporaryDirectory() as folder:
        result = fedcomp.simulate(config_from_dict(asked), out=Path(folder) / "run")
        noise_multiplier = RunDirectory.open(result.path).config().privacy.noise_multiplier or 0.0
    found = result.summary
    outcome = Outcome(
        accuracy=found["accuracy"]["global"],
        uplink_bytes=found["uplink_bytes"],
        downlink_bytes=found["downlink_bytes"],
        epsilon=found["epsilon"],
        noise_multiplier=noise_multiplier,
        seconds=found["seconds"]["training"],
    )
    sys.stdout.write("\n" + json.dumps(asdict(outcome)) + "\n")


def rows_of(outcomes: Mapping[tuple[Setting, int], Outcome], seeds: Sequence[int], rounds: int) -> list[dict[str, Any]]:
    """Return a row a setting: means over seeds, and what it lost against the uncut run in fp32 of the same seed."""
    rows = []
    for setting in dict.fromkeys(setting for setting, _ in outcomes):
        own = [outcomes[setting, seed] for seed in seeds]
        whole = [outcomes[REFERENCE, seed] for seed in seeds]
        sent = mean(outcome.uplink_bytes for outcome in own)
        rows.append(
            {
                "setting": setting.name,
                "share": make_cut(setting.cut).share,
                "accuracy": mean(outcome.accuracy for outcome in own),
                "lost_points": [100 * (w.accuracy - o.accuracy) for w, o in zip(whole, own, strict=True)],
                "uplink_bytes": sent,
                "downlink_bytes": mean(outcome.downlink_bytes for outcome in own),
                "bits": 8 * sent / rounds / CLIENTS / UNCUT,
                "uplink_ratio": mean(outcome.uplink_bytes for outcome in whole) / sent,
                "epsilon": max(outcome.epsilon["value"] for outcome in own),
                "noise_multiplier": max(outcome.noise_multiplier for outcome in own),
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]], outcomes: Mapping[tuple[Setting, int], Outcome], rounds: int) -> str:
    """Return the table of ``rows_of``, and the sentences that every epsilon in it needs."""
    sentences = sorted({outcome.epsilon["sentence"] for outcome in outcomes.values()})
    titles = f"{'cut, codec':26}{'trained':>8}{'accuracy':>10}{'lost, by seed':>24}{'up, MB':>9}{'down, MB':>10}"
    lines = [
        f"Fashion-MNIST, {CLIENTS} silos, {rounds} rounds; bits: of messages up, for each of {UNCUT:,} parameters",
        *sentences,
        f"{titles}{'bits':>8}{'fewer up':>10}{'epsilon':>9}",
    ]
    for row in rows:
        lost = " ".join(f"{value:+.2f}" for value in row["lost_points"])
        lines.append(
            f"{row['setting']:26}{row['share']:8.3f}{100 * row['accuracy']:9.2f}%{lost:>24}"
            f"{row['uplink_bytes'] / 1e6:9.2f}{row['downlink_bytes'] / 1e6:10.1f}{row['bits']:8.3f}"
            f"{row['uplink_ratio']:9.1f}x{row['epsilon']:9.3f}"
        )
    return "\n".join(lines)
