"""Every runtime and number format on every architecture of the applications: time, file, and error of the outputs.

``python -m benchmarks.runtimes`` prints a table for each model and batch size; ``--json FILE`` writes it. Weights are
random, so this says what an engine and a number format do, and nothing of accuracy. Ratios are medians over rounds in
which everything takes its turn, on one thread, against ONNX Runtime at fp32 and against PyTorch. ``--clock cpu`` counts
what the process computes instead of what passes, for machines on which others work.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.latency import Latency, interleaved
from fedcomp.runtimes.base import ExportError, Program, relative_error
from fedcomp.runtimes.eager import eager_program
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.tasks.models.conv1d import conv1d
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.tasks.models.ds_cnn import ds_cnn
from fedcomp.tasks.models.mlp import mlp
from fedcomp.tasks.models.mobilenet import mobilenet
from fedcomp.tasks.models.resnet import resnet
from fedcomp.threads import single_thread

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
BASELINE, EAGER = "onnxruntime fp32", "eager fp32"
_SEED = 0
_ROWS = 64  # calibrate, and are what the error is taken on


@dataclass(frozen=True)
class Case:
    """An architecture, the shape of its rows, and the batch sizes that it is timed at."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    batches: tuple[int, ...] = (1,)


CASES: Mapping[str, Case] = {
    "resnet": Case(lambda: resnet(1, 10), (1, 28, 28), (1, 64)),
    "mobilenet": Case(lambda: mobilenet(1, 10), (1, 28, 28)),
    "ds_cnn": Case(lambda: ds_cnn(12), (1, 49, 40)),
    "conv_gru": Case(lambda: conv_gru(40, 12), (1, 49, 40)),
    "mlp": Case(lambda: mlp(30, 2), (30,), (1, 1024)),
    "conv1d": Case(lambda: conv1d(6, 10), (6, 128)),
}


@dataclass(frozen=True)
class Row:
    """One program of one model at one batch size; ratios above 1 are faster than what they are taken to."""

    model: str
    batch: int
    program: str
    milliseconds: float
    ratio: float
    ratio_quartiles: tuple[float, float]
    eager_ratio: float
    bytes: int | None
    error: float


def main() -> None:
    """Measure and print."""
    asked = _arguments()
    rows: list[Row] = []
    notes: list[str] = []
    for name in asked.models:
        for batch in CASES[name].batches:
            found = list(measure(name, batch, asked.rounds, CLOCKS[asked.clock], notes))
            rows += found
            print("\n" + "\n".join(table(found)), flush=True)
    print("\n".join(["", *(f"note: {note}" for note in dict.fromkeys(notes))]))
    if asked.json:
        about = {"clock": asked.clock, "rounds": asked.rounds, "seed": _SEED, "machine": platform.processor()}
        content = {"settings": about, "rows": [asdict(row) for row in rows], "notes": notes}
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


def measure(name: str, batch: int, rounds: int, clock: Callable[[], float], notes: list[str]) -> Iterator[Row]:
    """Yield the row of every program of a model; what cannot be built goes to the notes."""
    case = CASES[name]
    module = lively(case.make)
    rng = np.random.default_rng(_SEED)
    rows = rng.standard_normal((max(_ROWS, batch), *case.shape)).astype(np.float32)
    with single_thread():
        sizes, programs = build(name, module, rows, notes)
        calls = {key: _bound(program, rows[:batch]) for key, program in programs.items()}
        times = interleaved(calls, BASELINE, rounds=rounds, rng=rng, clock=clock)
        for key, latency in times.items():
            error = relative_error(module, programs[key], rows[:_ROWS])
            yield _row(name, batch, key, latency, times[EAGER], sizes.get(key), error)


def build(
    name: str, module: nn.Module, rows: NDArray[np.float32], notes: list[str]
) -> tuple[dict[str, int], dict[str, Program]]:
    """Return bytes and programs of every format of every runtime that is installed, by "runtime format"."""
    sizes: dict[str, int] = {}
    programs: dict[str, Program] = {EAGER: eager_program(module)}
    for runtime in RUNTIMES.values():
        if (command := runtime.missing()) is not None:
            notes.append(f"{runtime.name} left out: {command}")
            continue
        for number_format, found in runtime.build_all(module, rows[:_ROWS], runtime.formats):
            key = f"{runtime.name} {number_format}"
            if isinstance(found, ExportError):
                notes.append(f"{name}, {key} left out: {found}")
            else:
                sizes[key], programs[key] = len(found), runtime.open(found)
    return sizes, programs


def lively(make: Callable[[], nn.Module]) -> nn.Module:
    """Return the model with random numbers where training starts from zero: zeros hide errors, and cost nothing."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(_SEED)
        module = make().eval()
        for parameter in module.parameters():
            if parameter.ndim > 1 and not parameter.any():
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    return module


def table(rows: list[Row]) -> list[str]:
    """Return the lines of a table, fastest first."""
    head = f"{rows[0].model}, batch {rows[0].batch}"
    lines = [f"{head:32} {'ms':>9} {'x ORT32':>8} {'quartiles':>13} {'x eager':>8} {'KB':>8} {'error':>8}"]
    for row in sorted(rows, key=lambda each: -each.ratio):
        low, high = row.ratio_quartiles
        size = f"{row.bytes / 1024:.0f}" if row.bytes else "-"
        spread = f"{low:.2f}..{high:.2f}"
        numbers = f"{row.milliseconds:9.3f} {row.ratio:8.2f} {spread:>13} {row.eager_ratio:8.2f}"
        lines.append(f"{row.program:32} {numbers} {size:>8} {row.error:8.1e}")
    return lines


def _row(name: str, batch: int, key: str, own: Latency, eager: Latency, size: int | None, error: float) -> Row:
    _, against_eager, _ = own.ratio_to(eager)
    return Row(name, batch, key, own.milliseconds, own.ratio, own.ratio_quartiles, against_eager, size, error)


def _bound(program: Program, batch: NDArray[np.float32]) -> Callable[[], object]:
    return lambda: program(batch)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
