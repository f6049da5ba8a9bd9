"""Whole runs for ``benchmarks.privacy_utility``, each in a process of its own, and what they say of a case's goals."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.codec_goals import Goal
from benchmarks.kept_runs import outcome_of
from benchmarks.utility_cases import Case

Outcomes = Mapping[tuple[str, int], "Outcome"]
"""Outcomes by name of the case and seed."""


@dataclass(frozen=True)
class Outcome:
    """One run: test accuracy of the last model, bytes of messages, and what its ledger says was spent."""

    accuracy: float
    uplink_bytes: int
    uplink_fp32_bytes: int
    downlink_bytes: int
    epsilon: Mapping[str, Any]
    seconds: float


def carry_out(case: Case, seed: int, keep: Path | None) -> Outcome:
    """Return what a run gave; one that was kept under the same config is not carried out again."""
    config = case.at(seed)
    kept = keep / f"{config.digest()[:16]}-{config.engine.workers}.json" if keep else None  # workers change seconds
    outcome = Outcome(**outcome_of("benchmarks.utility_runs:child", config.to_json(), kept))
    sys.stderr.write(f"{case.name}, seed {seed}: accuracy {outcome.accuracy:.4f} in {outcome.seconds:.0f} s\n")
    return outcome


def child() -> None:
    """Carry out the run that standard input describes, and print its outcome."""
    import fedcomp
    from fedcomp.config import config_from_json

    config = config_from_json(sys.stdin.read())
    with tempfile.TemporaryDirectory() as folder:
        found = fedcomp.simulate(config, out=Path(folder) / "run").summary
    outcome = Outcome(
        accuracy=found["accuracy"]["global"],
        uplink_bytes=found["uplink_bytes"],
        uplink_fp32_bytes=found["uplink_fp32_bytes"],
        downlink_bytes=found["downlink_bytes"],
        epsilon=found["epsilon"],
        seconds=found["seconds"]["training"],
    )
    sys.stdout.write("\n" + json.dumps(asdict(outcome)) + "\n")


def row_of(case: Case, outcomes: Outcomes, seeds: Sequence[int]) -> dict[str, Any]:
    """Return what the runs of a case say, and each of its goals with whether it is held."""
    own = [outcomes[case.name, seed] for seed in seeds]
    accuracies = [100 * outcome.accuracy for outcome in own]
    lost = None
    if case.reference is not None and all((case.reference, seed) in outcomes for seed in seeds):
        lost = [
            100 * outcomes[case.reference, seed].accuracy - value for seed, value in zip(seeds, accuracies, strict=True)
        ]
    fewer = sum(outcome.uplink_fp32_bytes for outcome in own) / sum(outcome.uplink_bytes for outcome in own)
    seconds = max(outcome.seconds for outcome in own)
    goals = (
        Goal("accuracy", case.accuracy, mean(accuracies), "points", floor=True) if case.accuracy else None,
        Goal("seconds", case.seconds, seconds, "s") if case.seconds else None,
        Goal("points lost", case.lost, mean(lost) if lost else None, "points") if case.lost else None,
        Goal("fewer bytes up", case.fewer, fewer, "x", floor=True) if case.fewer else None,
    )
    return {
        "case": case.name,
        "accuracy": accuracies,
        "mean": mean(accuracies),
        "spread": stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "lost": lost,
        "fewer": fewer,
        "seconds": seconds,
        "epsilon": max((outcome.epsilon for outcome in own), key=lambda spent: spent["value"]),
        "goals": {goal.text: (goal.limit, goal.verdict()) for goal in goals if goal},
    }


def table(rows: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """Return the table of ``row_of``."""
    titles = f"{'case':26}{'accuracy by seed':>{7 * len(seeds)}}{'mean':>8}{'spread':>8}{'lost':>7}"
    lines = [f"{titles}{'epsilon':>9}{'delta':>8} {'unit, mode':17}{'fewer up':>9}{'s':>6}  goals"]
    for row in rows:
        spent = row["epsilon"]
        each = "".join(f"{value:7.2f}" for value in row["accuracy"])
        lost = "-" if row["lost"] is None else f"{mean(row['lost']):.2f}"
        goals = "; ".join(f"{text} {limit:g} {verdict}" for text, (limit, verdict) in row["goals"].items())
        lines.append(
            f"{row['case']:26}{each}{row['mean']:8.2f}{row['spread']:8.2f}{lost:>7}{spent['value']:9.3f}"
            f"{spent['delta']:8.0e} {spent['unit'] + ', ' + spent['mode']:17}{row['fewer']:8.1f}x"
            f"{row['seconds']:6.0f}  {goals or '-'}"
        )
    return "\n".join(lines)
