"""What mode ``local`` costs in bytes: coding after the noise, and cutting the dimension before it.

``python -m benchmarks.local_mode`` measures on Fashion-MNIST, with the demo's silos, features and hyper-parameters:

* ``noise``: updates as clients send them, nearly all of it noise, through the codecs that matter. Real payload bytes a
  parameter, and how much variance coding adds to that of the noise, for a client and for the mean of ten.
* ``training``: whole runs at epsilon 3, delta 1e-5 (``fedcomp.simulate``; bytes are those of messages). The head is cut
  before the noise, so that fewer values are clipped, noised and sent: see ``benchmarks.local_tasks`` for the cuts.

Noise comes from the operating system, so a seed fixes the silos and not the accuracy of a run.
"""

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import local_noise, local_runs
from benchmarks.local_runs import REFERENCE, SETTINGS, Setting

_PARTS = ("noise", "training")
_BY_NAME = {setting.name: setting for setting in SETTINGS}


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    found: dict[str, Any] = {"settings": {key: _plain(value) for key, value in vars(asked).items()}}
    if "noise" in asked.parts:
        found["noise"] = _noise(asked)
    if "training" in asked.parts:
        found["training"] = _training(asked)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


def _noise(asked: argparse.Namespace) -> dict[str, Any]:
    chains = local_noise.chains()
    rows: dict[str, list[local_noise.Row]] = {name: [] for name in chains}
    updates = []
    for seed in asked.noise_seeds:
        for capture in local_noise.captures(seed, asked.at_rounds, asked.rounds):
            updates.append(local_noise.about(capture))
            for name, (_, chain) in chains.items():
                rows[name].append(local_noise.measure(capture, chain))
            sys.stderr.write(f"updates of round {capture.round}, seed {seed}: coded\n")
    means = {name: local_noise.summary(some, chains[name][0]) for name, some in rows.items()}
    sys.stdout.write(local_noise.table(means, updates) + "\n\n")
    return {"updates": updates, "rows": means, "bits_at_5_percent": local_noise.rates_of_the_goal(means)}


def _training(asked: argparse.Namespace) -> dict[str, Any]:
    settings = dict.fromkeys([REFERENCE, *(_BY_NAME[name] for name in asked.settings)])
    jobs = [(setting, seed) for seed in asked.seeds for setting in settings]

    def run(job: tuple[Setting, int]) -> local_runs.Outcome:
        return local_runs.carry_out(*job, asked.rounds, asked.keep)

    with ThreadPoolExecutor(asked.processes) as pool:
        outcomes = dict(zip(jobs, pool.map(run, jobs), strict=True))
    rows = local_runs.rows_of(outcomes, asked.seeds, asked.rounds)
    sys.stdout.write(local_runs.table(rows, outcomes, asked.rounds) + "\n")
    runs = {f"{setting.name}/{seed}": vars(outcome) for (setting, seed), outcome in outcomes.items()}
    return {"rows": rows, "runs": runs}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.local_mode", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of whole runs")
    parser.add_argument("--rounds", type=int, default=100, help="of a run; epsilon is 3 after the last")
    parser.add_argument("--settings", nargs="+", choices=list(_BY_NAME), default=list(_BY_NAME), metavar="SETTING")
    parser.add_argument("--noise-seeds", type=int, nargs="+", default=[0, 1, 2], help="of updates that are coded")
    parser.add_argument("--at-rounds", type=int, nargs="+", default=[1, 10, 50], help="whose updates are coded")
    parser.add_argument("--processes", type=int, default=1, help="runs side by side; each uses one core")
    parser.add_argument("--keep", type=Path, help="a folder for finished runs, found again by config alone")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
