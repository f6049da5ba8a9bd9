"""How much an engine costs by itself: LocalGrid, Flower's Ray simulation and pfl-research, side by side.

``python -m benchmarks.engine`` runs each engine in a process of its own, in turn, several times over; the table gives
medians over the repeats and, in brackets, the least and the most. *Overhead* is the wall time of one client in one
round less the time of its training step in a bare loop in the same process.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import Any

ENGINES = {
    "local": "LocalGrid, in process (1 core)",
    "local-fedavg": "LocalGrid, Flower's FedAvg and np.save (1 core)",
    "local-2-workers": "LocalGrid, 2 workers",
    "pfl": "pfl-research, numpy model (1 core)",
    "pfl-pytorch": "pfl-research, PyTorchModel (1 core)",
    "ray": "Flower on Ray, 1 actor beside the server",
}
_ONE_CORE = {"local", "local-fedavg", "pfl", "pfl-pytorch"}
_NEEDS = {"pfl": "pfl", "pfl-pytorch": "pfl", "ray": "ray"}
_COHORT = 20


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    missing = {name for name, module in _NEEDS.items() if importlib.util.find_spec(module) is None}
    engines = [name for name in ENGINES if name in asked.engines and name not in missing]
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in engines}
    for _ in range(asked.repeats):
        for name in engines:
            rounds = max(asked.rounds // 5, 3) if name == "ray" else asked.rounds
            measured[name].append(_child(name, asked.clients, asked.parameters, rounds=rounds))
    memory = {n: _child("memory", n, asked.parameters, cohort=_COHORT)["peak_mebibytes"] for n in (100, 10_000)}
    rows = {name: _summary(runs) for name, runs in measured.items()}
    if asked.json:
        print(json.dumps({"settings": vars(asked), "engines": rows, "peak_mebibytes": memory}))
        return
    print(_table(rows, memory, asked))
    for name in sorted(missing & set(asked.engines)):
        print(f"left out: {ENGINES[name]}: {_NEEDS[name]} is not installed (make bench-engine installs it)")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=100, help="clients in a round")
    parser.add_argument("--parameters", type=int, default=100_000, help="float32 values of the model")
    parser.add_argument("--rounds", type=int, default=30, help="rounds timed in each repeat; a fifth of it on Ray")
    parser.add_argument("--repeats", type=int, default=5, help="fresh processes for each engine")
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()


def _child(engine: str, clients: int, parameters: int, *, rounds: int = 0, cohort: int = 0) -> dict[str, float]:
    """Measure one engine in a fresh process."""
    sizes = {"clients": clients, "parameters": parameters, "rounds": rounds, "cohort": cohort}
    asked = {"engine": engine, **sizes, "one_core": engine in _ONE_CORE, "started": time.time()}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.engine_child", json.dumps(asked)],
        capture_output=True,
        text=True,
        env={**os.environ, "FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{ENGINES.get(engine, engine)} failed:\n{done.stderr[-3000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    values = {name: [run[name] for run in runs] for name in runs[0]}
    values["overhead_ms"] = [run["wall_ms"] - run["bare_ms"] for run in runs]
    return {name: {"median": median(value), "least": min(value), "most": max(value)} for name, value in values.items()}


def _table(rows: dict[str, Any], memory: dict[int, float], asked: argparse.Namespace) -> str:
    sizes = f"{asked.clients} clients a round, {asked.parameters:,} float32 parameters, one step each"
    lines = [
        f"{sizes}; median of {asked.repeats} [least .. most]",
        f"{'engine':<50}{'ms a client and round':>26}{'step alone':>12}{'overhead, ms':>26}{'start, s':>10}",
    ]
    for name, row in rows.items():
        cells = [_spread(row["wall_ms"]), f"{row['bare_ms']['median']:.3f}", _spread(row["overhead_ms"])]
        start = f"{row['startup_seconds']['median']:.1f}"
        lines.append(f"{ENGINES[name]:<50}{cells[0]:>26}{cells[1]:>12}{cells[2]:>26}{start:>10}")
    if "local" in rows:
        own = rows["local"]["overhead_ms"]["median"]
        for other in ("ray", "pfl", "pfl-pytorch"):
            if other in rows:
                times = rows[other]["overhead_ms"]["median"] / own
                lines.append(f"overhead of {ENGINES[other]} over LocalGrid's in process: {times:.1f} times")
    few, many = memory[100], memory[10_000]
    lines.append(
        f"peak memory, {_COHORT} clients a round: {few:.1f} MiB with 100 registered, "
        f"{many:.1f} MiB with 10,000 ({many - few:+.1f})"
    )
    return "\n".join(lines)


def _spread(value: dict[str, float]) -> str:
    return f"{value['median']:.3f} [{value['least']:.3f} .. {value['most']:.3f}]"


if __name__ == "__main__":
    main()
