"""What small translation models cost and gain: ``python -m benchmarks.translation RUN [--rows N] [--json FILE]``.

RUN is a finished run of ``configs/translation-short.toml`` or ``translation.toml``. Its global model is the dense one.
A shallow one (all of its encoder, one layer of its decoder) learns again from its answers on the run's public rows;
then half of that one's heads and hidden units are cut, and it learns once more. With ``--shallow RUN`` the shallow one
is that of another run, whose clients trained it with RUN's model as ``[teacher]``. Each is decoded greedily with cached
keys and values, in fp32 and in int8.

BLEU is that of the task's test rows, which nothing was made by, in batches of the size that is timed: dynamic int8
finds its ranges batch by batch. Speed-ups are against ONNX Runtime at fp32 of the dense model and against PyTorch, both
with the same cache, on one thread, in processor time, interleaved. Every way decodes as many tokens of a batch as the
dense model needs, so that no model is fast by saying little.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.codec_goals import Goal
from benchmarks.translation_models import Small, Taken, make_small, take, trained_by_clients
from benchmarks.translation_speed import Row, decoders, measure
from fedcomp.threads import single_thread

_MOST_BLEU_LOST = 1.0


@dataclass(frozen=True)
class Aim:
    """What a way to decode has to reach, in which batch: speed against ONNX Runtime at fp32 and against PyTorch."""

    way: str
    batch: int
    speed_up: float
    eager_speed_up: float | None = None


AIMS = (Aim("dense, int8", 1, 2.3), Aim("shallow, int8", 1, 4, 15), Aim("shallow, int8", 16, 4, 15))


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the small models, measure, and print the table."""
    asked = _parser().parse_args(arguments)
    taken = take(asked.run, asked.rows)
    shallow = trained_by_clients(asked.shallow) if asked.shallow else None
    with single_thread():
        smalls = make_small(taken, asked.steps, asked.learning_rate, _say, shallow)
        ways = decoders(smalls, taken)
        rows = [
            row for batch in asked.batch for row in measure(ways, taken, batch, asked.rounds, asked.texts, asked.whole)
        ]
    sys.stdout.write("\n".join([_head(taken, smalls), table(rows), *(goal.line() for goal in goals(rows))]) + "\n")
    if asked.json:
        made = {small.name: small.steps for small in smalls}
        tree = {"run": asked.run.name, "made": made, "rows": [asdict(row) for row in rows]}
        asked.json.write_text(json.dumps(tree, indent=2) + "\n")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.translation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="directory of a finished run of a translation task")
    parser.add_argument("--shallow", type=Path, metavar="RUN", help="a run that trained the shallow model")
    parser.add_argument("--rows", type=int, help="test rows that BLEU is computed on; all if left out")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16], help="texts decoded together")
    parser.add_argument("--steps", type=int, default=1500, help="steps of training after each cut, 32 rows each")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of that training")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way, at least 7")
    parser.add_argument("--texts", type=int, default=64, help="test rows that are decoded in each turn")
    parser.add_argument("--whole", action="store_true", help="time as many tokens as there are places, padding and all")
    parser.add_argument("--json", type=Path, help="write everything that was measured there")
    return parser


def _head(taken: Taken, smalls: Sequence[Small]) -> str:
    lines = [f"{taken.name}: {len(taken.references)} test rows, {len(taken.material.inputs)} rows to learn from"]
    lines += [
        f"  {small.name}: {small.parameters:,} parameters; "
        + ("the run's model" if not small.steps else ", ".join(f"{step['id']} ({data})" for step, data in small.steps))
        for small in smalls
    ]
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text."""
    names = f"{'':<28}{'batch':>6}{'ms/text':>9}{'x ORT fp32 [quartiles]':>25}{'x eager':>9}{'kB':>8}{'BLEU':>7}"
    lines = [f"{names}{'lost (95 %)':>26}"]
    for row in rows:
        ratio = f"{row.speed_up:.2f} [{row.quartiles[0]:.2f}-{row.quartiles[1]:.2f}]"
        lost = f"{row.lost:+.2f} ({row.interval[0]:+.2f} to {row.interval[1]:+.2f})"
        size = "-" if row.kilobytes is None else f"{row.kilobytes:,.0f}"
        lines.append(
            f"{row.way:<28}{row.batch:>6}{row.milliseconds:>9.3f}{ratio:>25}{row.eager_speed_up:>9.2f}{size:>8}"
            f"{row.bleu:>7.2f}{lost:>26}"
        )
    return "\n".join(lines)


def goals(rows: Sequence[Row]) -> list[Goal]:
    """Return the goals of those ways that have some, in the batches that were measured."""
    found = []
    for aim in AIMS:
        for row in (row for row in rows if (row.way, row.batch) == (aim.way, aim.batch)):
            text = f"{aim.way}, batch {aim.batch}"
            found += [
                Goal(f"{text}: BLEU lost", _MOST_BLEU_LOST, row.lost, "BLEU"),
                Goal(f"{text}: against ONNX Runtime fp32", aim.speed_up, row.speed_up, "x", floor=True),
            ]
            if aim.eager_speed_up is not None:
                found.append(Goal(f"{text}: against PyTorch", aim.eager_speed_up, row.eager_speed_up, "x", floor=True))
    return found


if __name__ == "__main__":
    sys.exit(main())
