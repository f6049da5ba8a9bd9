"""Bytes that federated averaging needs to reach the accuracy of its uncompressed self, codec by codec.

``python -m benchmarks.bytes_to_accuracy`` trains a CNN of 106,122 parameters on Fashion-MNIST: 100 clients with
Dirichlet(0.3) shares, 10 of them a round, one local epoch, server momentum. Every run is ``fedcomp.simulate``: bytes
are those of the messages, both ways, with envelopes, headers and greetings.

Accuracy moves by a point or two from round to round, because each round sees the classes of ten clients alone. So it is
smoothed (mean of the last five evaluations, ten rounds) wherever it is compared, for all codecs alike. What a codec
needs is read at the first round from which the smoothed accuracy is no more than ``--slack`` below fp32's at its end.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.accuracy_codecs import CODECS
from benchmarks.accuracy_figure import draw
from fedcomp.codecs import codec_from_config
from fedcomp.files import write_atomic

BASE: dict[str, Any] = {
    "task": "benchmarks.accuracy_task:cnn",
    "evaluate_every": 2,
    "data": {"partition": "dirichlet", "alpha": 0.3, "min_examples": 10},
    "clients": {"population": 100, "cohort": 10, "sampling": "fixed"},
    "training": {"local_epochs": 1, "batch_size": 50, "learning_rate": 0.1},
    "server": {"weighting": "examples", "learning_rate": 0.2, "momentum": 0.9},
    "student": {"enabled": False},
    "audit": {"enabled": False},
}
_WINDOW = 5


@dataclass(frozen=True)
class Curve:
    """One run: smoothed accuracy and cumulative bytes at every evaluated round."""

    rounds: tuple[int, ...]
    accuracy: tuple[float, ...]
    uplink: tuple[int, ...]
    downlink: tuple[int, ...]


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    for name in asked.codecs:  # before hours of runs, not after
        codec_from_config(CODECS[name].uplink), codec_from_config(CODECS[name].downlink)
    jobs = [(name, seed) for seed in asked.seeds for name in dict.fromkeys(["fp32", *asked.codecs])]
    with ThreadPoolExecutor(asked.processes) as pool:
        curves = dict(zip(jobs, pool.map(lambda job: _run(*job, asked), jobs), strict=True))
    rows = {name: _row(name, curves, asked) for name in dict.fromkeys(name for name, _ in jobs)}
    sys.stdout.write(_table(rows, asked) + "\n")
    if asked.json:
        points = {f"{name}/{seed}": vars(curve) for (name, seed), curve in curves.items()}
        asked.json.write_text(json.dumps({"settings": _settings(asked), "rows": rows, "curves": points}, indent=1))
    if asked.figure:
        asked.figure.write_text(draw({name: [curves[name, seed] for seed in asked.seeds] for name in rows}))


def child() -> None:
    """Carry out one run that standard input describes, and print its rows."""
    asked = json.load(sys.stdin)
    import fedcomp
    from fedcomp.config import config_from_dict

    with tempfile.TemporaryDirectory() as folder:
        fedcomp.simulate(config_from_dict(asked), out=Path(folder) / "run")
        rows = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    sys.stdout.write("\n" + json.dumps(rows) + "\n")


def _run(name: str, seed: int, asked: argparse.Namespace) -> Curve:
    entry = CODECS[name]
    rounds = asked.rounds + (entry.extra_rounds if asked.rounds == 100 else 0)
    chains = {"uplink": entry.uplink, "downlink": entry.downlink}
    server = {**BASE["server"], "release": entry.release}
    described = json.dumps({**BASE, "seed": seed, "rounds": rounds, "server": server, **chains}, sort_keys=True)
    kept = asked.keep / (hashlib.sha256(described.encode()).hexdigest()[:16] + ".json") if asked.keep else None
    if kept and kept.exists():
        rows = json.loads(kept.read_text())
    else:
        rows = _measured(described)
        if kept:
            write_atomic(kept, json.dumps(rows).encode())
    curve = _curve(rows)
    sys.stderr.write(f"{name}, seed {seed}: accuracy {curve.accuracy[-1]:.4f}\n")
    return curve


def _measured(described: str) -> list[dict[str, Any]]:
    """Return the rows of one run, made in a process of its own."""
    code = "from benchmarks.bytes_to_accuracy import child; child()"
    done = subprocess.run([sys.executable, "-c", code], input=described, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{described}: {done.stderr[-2000:]}")
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def _curve(rows: Sequence[Mapping[str, Any]]) -> Curve:
    up = down = 0
    found: list[tuple[int, float, int, int]] = []
    for row in rows:
        up, down = up + row["uplink_bytes"], down + row["downlink_bytes"]
        if row["accuracy"] is not None:
            found.append((row["round"], row["accuracy"], up, down))
    smooth = [mean(point[1] for point in found[max(0, at - _WINDOW + 1) : at + 1]) for at in range(len(found))]
    rounds, _, uplink, downlink = zip(*found, strict=True)
    return Curve(rounds, tuple(smooth), uplink, downlink)


def _row(name: str, curves: Mapping[tuple[str, int], Curve], asked: argparse.Namespace) -> dict[str, Any]:
    """Return what a codec reached and needed, as means over seeds; ratios are of sums over seeds."""
    own, fp32 = [curves[name, seed] for seed in asked.seeds], [curves["fp32", seed] for seed in asked.seeds]
    at_end = [_at_round(curve, asked.rounds) for curve in own]
    loss = [_at_round(base, asked.rounds)[0] - end[0] for base, end in zip(fp32, at_end, strict=True)]
    row: dict[str, Any] = {
        "accuracy": mean(end[0] for end in at_end),
        "loss_points": [100 * value for value in loss],
        "uplink_ratio": sum(c.uplink[-1] for c in fp32) / sum(end[1] for end in at_end),
        "both_ratio": sum(c.uplink[-1] + c.downlink[-1] for c in fp32) / sum(end[1] + end[2] for end in at_end),
    }
    reached = [
        _first(curve, _at_round(base, asked.rounds)[0] - asked.slack / 100)
        for curve, base in zip(own, fp32, strict=True)
    ]
    if all(point is not None for point in reached):
        points = [point for point in reached if point is not None]
        row["rounds_to_accuracy"] = [point[0] for point in points]
        row["uplink_ratio_to_accuracy"] = sum(c.uplink[-1] for c in fp32) / sum(p[1] for p in points)
        total = sum(c.uplink[-1] + c.downlink[-1] for c in fp32)
        row["both_ratio_to_accuracy"] = total / sum(p[1] + p[2] for p in points)
    return row


def _at_round(curve: Curve, number: int) -> tuple[float, int, int]:
    at = max(index for index, value in enumerate(curve.rounds) if value <= number)
    return curve.accuracy[at], curve.uplink[at], curve.downlink[at]


def _first(curve: Curve, accuracy: float) -> tuple[int, int, int] | None:
    for index in range(_WINDOW - 1, len(curve.rounds)):
        if curve.accuracy[index] >= accuracy:
            return curve.rounds[index], curve.uplink[index], curve.downlink[index]
    return None


def _table(rows: Mapping[str, Mapping[str, Any]], asked: argparse.Namespace) -> str:
    titles = f"{'codec':26}{'accuracy':>9}{'lost, by seed':>22}{'uplink':>9}{'both':>8}   {'to accuracy: rounds':>20}"
    lines = [
        f"seeds {asked.seeds}; after {asked.rounds} rounds, and at fp32's final accuracy less {asked.slack:g} points",
        f"{titles}{'uplink':>9}{'both':>8}",
    ]
    for name, row in rows.items():
        lost = " ".join(f"{value:+.2f}" for value in row["loss_points"])
        line = f"{name:26}{100 * row['accuracy']:8.2f}%{lost:>22}{row['uplink_ratio']:8.1f}x{row['both_ratio']:7.1f}x"
        if "rounds_to_accuracy" in row:
            rounds = " ".join(map(str, row["rounds_to_accuracy"]))
            line += f"   {rounds:>20}{row['uplink_ratio_to_accuracy']:8.1f}x{row['both_ratio_to_accuracy']:7.1f}x"
        else:
            line += f"   {'not reached':>20}"
        lines.append(line)
    return "\n".join(lines)


def _settings(asked: argparse.Namespace) -> dict[str, Any]:
    return {key: str(value) if isinstance(value, Path) else value for key, value in vars(asked).items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bytes_to_accuracy", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--codecs", nargs="+", choices=list(CODECS), default=list(CODECS))
    parser.add_argument(
        "--slack", type=float, default=0.5, help="points of accuracy below fp32's that count as reached"
    )
    parser.add_argument("--processes", type=int, default=2, help="runs side by side; each uses one core")
    parser.add_argument("--keep", type=Path, help="a folder for finished runs, which are not carried out again")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    parser.add_argument("--figure", type=Path, help="write accuracy over bytes there, as SVG")
    return parser.parse_args()


if __name__ == "__main__":
    main()
