"""What accounting costs: a thousand rounds priced round by round, a ledger of mixed events, and calibration.

``python -m benchmarks.accounting [--json FILE]``. Wall-clock seconds, each in a fresh process state (nothing is cached
from the case before, because every case has noise of its own).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import dp_accounting as dp

from fedcomp.privacy import Budget, PoissonSampler, calibrate_noise_multiplier, epsilon, epsilon_schedule
from fedcomp.privacy.events import flatten

_DELTA = 1e-5
_ROUNDS = 1000


def schedule() -> float:
    """Price every one of a thousand equal rounds; returns the last epsilon."""
    event = PoissonSampler(0, 0.01, 1).event(1.01)
    return epsilon_schedule(event, range(1, _ROUNDS + 1), _DELTA)[-1].epsilon


def charged() -> float:
    """Ask before each of a thousand rounds whether it would be too much, as a ledger does; returns epsilon."""
    event, budget, spent = PoissonSampler(0, 0.01, 1).event(1.02), Budget(3.0, _DELTA), dict(flatten([]))
    one = flatten([(event, 1)])
    for _ in range(_ROUNDS):
        if budget.exceeded_by(spent, one):
            raise RuntimeError("expected a budget for a thousand rounds")
        spent = {key: spent.get(key, 0) + count for key, count in one.items()}
    return epsilon(spent.items(), _DELTA)


def mixed() -> float:
    """Price a thousand rounds of training, a thousand noised counts and fifty noised metrics on one account."""
    events = [
        (PoissonSampler(0, 0.01, 1).event(1.03), _ROUNDS),
        (dp.PoissonSampledDpEvent(0.01, dp.GaussianDpEvent(8.0)), _ROUNDS),
        (dp.GaussianDpEvent(20.0), 50),
    ]
    return epsilon(events, _DELTA)


def calibrated() -> float:
    """Find the noise that keeps a thousand steps within epsilon 3; returns it."""
    return calibrate_noise_multiplier(3.0, _DELTA, 0.0137, _ROUNDS)


CASES: dict[str, Callable[[], float]] = {
    "epsilon of each of 1,000 rounds": schedule,
    "1,000 charges, each checked against a budget": charged,
    "2,050 events of three kinds": mixed,
    "noise for epsilon 3 over 1,000 steps": calibrated,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the table there")
    options = parser.parse_args(arguments)
    rows = []
    for name, case in CASES.items():
        began = time.perf_counter()
        value = case()
        rows.append({"case": name, "value": value, "seconds": round(time.perf_counter() - began, 3)})
        sys.stdout.write(f"{name:46} {value:8.4f} {rows[-1]['seconds']:8.2f} s\n")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
