"""What a small model costs and gains in each application: speed, accuracy and leakage beside the dense model.

``python -m benchmarks.applications [--only NAME ...] [--seeds 0 1 2] [--folder DIR] [--json FILE]``. Each row is a
whole federated run from ``configs/``, then an export by measurement; runs in ``--folder`` are taken up again.

The baseline of every speed-up is ONNX Runtime at fp32 of the same dense model, on one thread, interleaved with the
small one; the ratio against PyTorch stands beside it. Accuracy is paired on the task's test rows, which nothing was
chosen by.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, stdev

from benchmarks.application_cases import APPLICATIONS, Application
from benchmarks.application_runs import Effort, Row, carry_out
from benchmarks.codec_goals import Goal


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[case.name for case in APPLICATIONS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, help="where runs are kept; a temporary one if left out")
    parser.add_argument("--steps", type=int, default=1500, help="steps of training after each cut")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds of timing")
    parser.add_argument("--shadows", action="store_true", help="carry out LiRA and RMIA too, with 16 shadow models")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    options = parser.parse_args(arguments)
    effort = Effort(options.steps, options.rounds, options.shadows)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        rows: dict[str, list[Row]] = {}
        for case in (case for case in APPLICATIONS if not options.only or case.name in options.only):
            found = [carry_out(case, seed, folder, effort) for seed in options.seeds]
            rows[case.name] = found
            sys.stdout.write(text_of(case, found) + "\n")
            sys.stdout.flush()
            if options.json:
                kept = {name: [asdict(row) for row in each] for name, each in rows.items()}
                options.json.write_text(json.dumps(kept, indent=2) + "\n")
    return 0


def text_of(case: Application, rows: Sequence[Row]) -> str:
    """Return what the seeds of an application gave, and each of its goals with whether it is held."""
    lines = [f"{case.name} ({case.config}.toml), seeds {', '.join(str(row.seed) for row in rows)}"]
    lines += [
        f"  seed {row.seed}: {row.chosen}; dense {row.dense:.2%}, small {row.small:.2%}, {row.lost:+.2f} points lost "
        f"({row.interval[0]:+.2f} to {row.interval[1]:+.2f}); file {row.kilobytes:.0f} KB, {row.file:.1%}; "
        f"trained in {row.seconds:.0f} s; privacy: {row.epsilon}"
        for row in rows
    ]
    for number, aim in enumerate(case.aims):
        speeds = [row.speeds[number] for row in rows]
        said = "  ".join(
            f"{each.speed_up:.2f} ({each.quartiles[0]:.2f}-{each.quartiles[1]:.2f}), eager {each.eager_speed_up:.1f}"
            for each in speeds
        )
        lines.append(f"  batch {aim.batch}: {said}")
    for attack in rows[0].leakage["dense"]:
        for name in ("dense", "small"):
            found = [row.leakage[name][attack] for row in rows]
            said = "  ".join(
                f"{each['auc']:.3f} ({each['auc_low']:.3f}-{each['auc_high']:.3f}), {each['tpr_at_0.001']:.2%}"
                for each in found
            )
            lines.append(f"  {attack} attack on the {name} model, AUC and TPR at .1 % FPR: {said}")
    return "\n".join([*lines, *(f"  {goal.line()}" for goal in goals_of(case, rows))])


def goals_of(case: Application, rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of an application over its seeds: medians of speed, means of what is lost."""
    found = [
        Goal(
            f"points lost (spread {_spread([row.lost for row in rows])})",
            case.loss,
            mean(r.lost for r in rows),
            "points",
        )
    ]
    aucs = [row.auc_lost for row in rows if row.auc_lost is not None]
    if case.auc_loss is not None:
        found.append(Goal("AUC lost", case.auc_loss, mean(aucs) if aucs else None, ""))
    if case.file is not None:
        found.append(Goal("file over the dense one", case.file, mean(row.file for row in rows), ""))
    for number, aim in enumerate(case.aims):
        speeds = [row.speeds[number] for row in rows]
        own, eager = mean(speed.speed_up for speed in speeds), mean(speed.eager_speed_up for speed in speeds)
        found.append(Goal(f"batch {aim.batch} against ONNX Runtime fp32", aim.speed_up, own, "x", floor=True))
        found.append(Goal(f"batch {aim.batch} against PyTorch", aim.eager_speed_up, eager, "x", floor=True))
    return found


def _spread(values: Sequence[float]) -> str:
    return f"{stdev(values):.2f}" if len(values) > 1 else "of one seed"


if __name__ == "__main__":
    sys.exit(main())
