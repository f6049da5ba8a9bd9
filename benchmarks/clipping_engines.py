"""Seconds per 1,000 rows of DP-SGD's clipping engines, and of plain SGD, on four models: ``python -m
benchmarks.clipping_engines [--json] [--seconds 4]``. Made-up data, one thread; every engine has one turn a round."""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fedcomp.crypto import SecretStream
from fedcomp.tasks.fashion_mnist import _cnn
from fedcomp.threads import single_thread
from fedcomp.training.clipping import ClippingEngine, GhostClipping, HookClipping
from fedcomp.training.engines import choose_engine
from fedcomp.training.linear_clipping import LinearClipping
from fedcomp.training.opacus_parts import StepRule
from fedcomp.training.vmap_clipping import VmapClipping

ENGINES: tuple[type[ClippingEngine], ...] = (LinearClipping, GhostClipping, VmapClipping, HookClipping)
Row = dict[str, Any]


class NoNoise:
    """Zeros for noise: what the noise costs has a column of its own, so that engines can be told apart."""

    def random(self, size: Any = None) -> Any:
        """Return zeros."""
        return np.zeros(size)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64) -> Any:
        """Return zeros."""
        return np.zeros(size, dtype)


@dataclass(frozen=True)
class Case:
    """A model, and the rows of one step."""

    name: str
    make: Callable[[], nn.Module]
    row: tuple[int, ...]
    batch: int


def tempered() -> nn.Module:
    """Return the CNN of 26,010 parameters of Papernot et al., *Tempered sigmoid activations* (2021)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 8, stride=2, padding=2), nn.Tanh(), nn.MaxPool2d(2, stride=1)),
        *(nn.Conv2d(16, 32, 4, stride=2), nn.Tanh(), nn.MaxPool2d(2, stride=1), nn.Flatten()),
        *(nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 10)),
    )


def large() -> nn.Module:
    """Return the CNN of 1,663,370 parameters of McMahan et al., *Communication-efficient learning* (2017)."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(64 * 7 * 7, 512), nn.ReLU(), nn.Linear(512, 10)),
    )


CASES = (
    Case("scattering linear head", lambda: nn.Linear(3969, 10), (3969,), 512),
    Case("fashion-mnist-cnn", _cnn, (1, 28, 28), 256),
    Case("tempered tanh CNN", tempered, (1, 28, 28), 256),
    Case("McMahan CNN", large, (1, 28, 28), 64),
)


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each engine and model, about")
    arguments = parser.parse_args()
    with single_thread():
        rows = [measure(case, arguments.seconds) for case in CASES]
    print(json.dumps(rows, indent=1) if arguments.json else table(rows))


def measure(case: Case, seconds: float) -> Row:
    """Return seconds per 1,000 rows by engine, medians over rounds in which every engine takes one step."""
    rng = np.random.default_rng(0)
    inputs = torch.from_numpy(rng.standard_normal((case.batch, *case.row), dtype=np.float32))
    targets = torch.from_numpy(rng.integers(0, 10, case.batch))
    module = case.make()
    steps = _steps(module, inputs, targets)
    first = {name: _seconds(step) for name, step in steps.items()}  # warms up too
    turns = max(5, int(seconds / max(first.values())))
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            taken[name].append(_seconds(step))
    choice = choose_engine(module, cross_entropy, inputs.numpy(), targets.numpy())
    return {
        "model": case.name,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "batch": case.batch,
        "turns": turns,
        "seconds_per_1000": {name: 1000 / case.batch * median(each) for name, each in taken.items()},
        "noise_seconds_per_step": _noise_seconds(module),
        "chosen": choice.engine.name,
        "reason": choice.reason,
    }


def _steps(module: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> dict[str, Callable[[], None]]:
    plain = copy.deepcopy(module).train()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01)

    def sgd() -> None:
        optimizer.zero_grad()
        functional.cross_entropy(plain(inputs), targets).backward()
        optimizer.step()

    steps = {"sgd": sgd}
    for engine_type in ENGINES:
        try:
            engine = engine_type(copy.deepcopy(module), cross_entropy, _rule(len(inputs)))
        except ValueError:
            continue  # the closed form is for linear heads

        def step(engine: ClippingEngine = engine) -> None:
            engine.accumulate(inputs, targets)
            engine.step()

        steps[engine_type.name] = step
    return steps


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return one loss an example."""
    return functional.cross_entropy(outputs, targets, reduction="none")


def _rule(batch: int) -> StepRule:
    return StepRule(0.1, 1.0, float(batch), 0.01, 0.0, NoNoise())


def _noise_seconds(module: nn.Module) -> float:
    stream, size = SecretStream(), sum(parameter.numel() for parameter in module.parameters())
    return median(_seconds(lambda: stream.standard_normal(size, dtype=np.float32)) for _ in range(3))


def _seconds(step: Callable[[], Any]) -> float:
    started = time.process_time()
    step()
    return time.process_time() - started


def table(rows: list[Row]) -> str:
    """Return the rows as text: seconds, with the ratio to plain SGD in brackets."""
    names = ["sgd", *(engine.name for engine in ENGINES)]
    lines = ["seconds per 1,000 rows (times plain SGD)", "", f"{'model':<26}" + "".join(f"{n:>17}" for n in names)]
    for row in rows:
        taken = row["seconds_per_1000"]
        cells = [f"{taken[n]:.4f} ({taken[n] / taken['sgd']:.2f}x)" if n in taken else "-" for n in names]
        lines.append(f"{row['model']:<26}" + "".join(f"{cell:>17}" for cell in cells))
    lines += ["", "noise of one step, and what is chosen"]
    lines += [f"{row['model']:<26}{row['noise_seconds_per_step']:>10.4f} s   {row['chosen']}" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
