"""What accuracy a privacy budget leaves: whole runs on Fashion-MNIST at delta 1e-5, three seeds each.

``python -m benchmarks.privacy_utility [--only NAME ...] [--seeds 0 1 2] [--keep DIR] [--json FILE]``. Every run is
``fedcomp.simulate``: bytes are those of the messages, and epsilon is what the ledger has after the last round, for
neighbors that differ by one unit more or less. The cases, and where their hyper-parameters come from, are in
``benchmarks.utility_cases``.

Noise and Poisson batches come from the operating system, so a seed fixes the partition and not the accuracy of a run.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.utility_cases import CASES
from benchmarks.utility_runs import carry_out, row_of, table
from fedcomp.plan import make_plan

_BY_NAME = {case.name: case for case in CASES}


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    cases = [_BY_NAME[name] for name in dict.fromkeys(asked.only)]
    for case in cases:
        make_plan(case.at(0))  # before hours of runs, not after
    outcomes = {(case.name, seed): carry_out(case, seed, asked.keep) for case in cases for seed in asked.seeds}
    rows = [row_of(case, outcomes, asked.seeds) for case in cases]
    sys.stdout.write(table(rows, asked.seeds) + "\n")
    if asked.json:
        runs = {f"{name}/{seed}": vars(outcome) for (name, seed), outcome in outcomes.items()}
        asked.json.write_text(json.dumps({"seeds": asked.seeds, "rows": rows, "runs": runs}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.privacy_utility", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--only", nargs="+", choices=list(_BY_NAME), default=list(_BY_NAME), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="a folder for finished runs, found again by config alone")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
