"""The small model of a finished run: candidates made, measured, one chosen, and written with its manifest."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from fedcomp.errors import ConfigError, RunError
from fedcomp.export.candidate import Measured
from fedcomp.export.recipes import RATIOS, recipes_for
from fedcomp.export.search import Built, Ground, Timing, build, make_modules, measure
from fedcomp.export.target import Choice, Target, choose
from fedcomp.export.writer import Writer
from fedcomp.plan import Plan, make_plan
from fedcomp.released import released_modules, student_module
from fedcomp.rng import stream
from fedcomp.run_files import RunDirectory
from fedcomp.runtimes.base import Runtime
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.shrink.base import DataTouched, Material, Step
from fedcomp.shrink.registry import step_from_config
from fedcomp.tasks import Split, model_rows

FAST_FORMATS = ("fp32", "int8-static", "int8-dynamic", "int4-weight")
"""Number formats that are tried for speed; the others are tried where a small file is asked for."""
_FEWEST_ROWS, _BATCH = 40, 32
_LARGEST_ERROR = 0.5  # a file whose outputs are further from its module's than that computes something else


@dataclass(frozen=True)
class Wish:
    """What the user asks of an export.

    ``runtime`` is a runtime's name or ``any``; ``ratios`` are the shares that are cut; ``steps`` of training
    follow each cut; ``private_rows`` lets the clients' rows be read where no privacy is claimed.
    """

    target: Target
    runtime: str = "onnxruntime"
    ratios: tuple[float, ...] = RATIOS
    steps: int = 1500
    timing: Timing = field(default_factory=Timing)
    private_rows: bool = False


@dataclass(frozen=True)
class Exported:
    """What an export wrote, and why; ``small`` is the chosen one and ``dense`` what it was made from."""

    folder: Path
    model: Path
    choice: Choice
    candidates: tuple[Measured, ...]
    small: Built
    dense: nn.Module


def export_run(path: Path, wish: Wish, out: Path | None = None, say: Callable[[str], None] | None = None) -> Exported:
    """Make, measure and choose the small model of the finished run at ``path``; write it into ``out``.

    ``out`` (``small`` in the run's directory, if left out) gets the model's file, ``manifest.json``, ``card.md`` and
    ``model.safetensors``; the run's directory gets ``curve.json``, every candidate that was measured.

    Raises:
        RunError: if the run is not finished, or a file is damaged or cannot be written.
        ConfigError: if there are no rows to choose by, an unknown or missing runtime, or no candidate keeps the target.
    """
    say = say or (lambda _: None)
    run, began = RunDirectory.open(path), time.perf_counter()
    if not (path / "summary.json").exists():
        raise RunError(f"{path} is not finished: expected a summary.json; run `fedcomp resume {path}` first")
    plan = make_plan(run.config())
    runtimes = _runtimes(wish.runtime)
    ground = _ground(plan, path, wish)
    rng = stream(plan.config.seed, "export")
    recovery = _recovery(ground.material, wish.steps, plan.task.padding)
    recipes = recipes_for(ground.origins["dense"], recovery, wish.ratios, student="student" in ground.origins)
    made = make_modules(ground, recipes, rng, say)
    rows = np.asarray(ground.material.inputs[:512])
    threads = wish.timing.threads
    say("building and measuring")
    baseline = RUNTIMES["onnxruntime"]
    program = baseline.open(baseline.build(ground.origins["dense"], rows), threads)
    formats = FAST_FORMATS if wish.target.bytes is None else None
    built = list(build(made, runtimes, rows, ground.material.data, say, threads, formats))
    measured = [
        found for found in measure(ground, built, program, wish.timing, rng) if found.output_error <= _LARGEST_ERROR
    ]
    seconds = time.perf_counter() - began
    writer = Writer(plan, run, ground, wish.timing)
    asked = wish.target.sentence()
    writer.curve(asked, measured, None, seconds)  # first without: if none keeps the target, it shows by how much
    choice = choose(measured, wish.target, ground.judged_data)
    writer.curve(asked, measured, choice, seconds)
    chosen = next(each for each in built if each.name == choice.chosen.name)
    folder = out or path / "small"
    model = writer.model(folder, choice, chosen)
    return Exported(folder, model, choice, tuple(measured), chosen, ground.origins["dense"])


def _recovery(material: Material, steps: int, padding: int) -> Step:
    """Return what lets a model that was cut learn from the dense one again: as long, however few rows there are."""
    epochs = math.ceil(steps * _BATCH / len(material.inputs))
    labels = 0.3 if material.targets is not None else 0.0
    options = {"epochs": epochs, "batch_size": _BATCH, "hard_label_weight": labels, "padding": padding}
    return step_from_config({"id": "distil", **options})


def _runtimes(name: str) -> list[Runtime]:
    if name != "any" and name not in RUNTIMES:
        raise ConfigError([f"--to: expected any or one of {', '.join(sorted(RUNTIMES))}, got {name!r}"])
    wanted = [runtime for each, runtime in RUNTIMES.items() if name in ("any", each)]
    usable = [runtime for runtime in wanted if runtime.missing() is None]
    if (command := RUNTIMES["onnxruntime"].missing()) is not None:
        raise ConfigError([f"--to: measuring needs ONNX Runtime, which is not installed: {command}"])
    if not usable:
        raise ConfigError([f"--to: {name} is not installed: {wanted[0].missing()}"])
    return usable


def _ground(plan: Plan, path: Path, wish: Wish) -> Ground:
    modules = released_modules(plan, path)
    rows, data = _rows(plan, wish.private_rows)
    # a student that eats raw rows stands in for a global model that eats features: a device has no feature transform
    transformed = rows.raw is not rows.inputs
    if transformed and "student" not in modules:
        raise RunError(f"{path} has no student, and its global model eats features: set student.enabled")
    dense = modules["student"] if transformed else modules["global"]
    inputs = model_rows(rows.raw)
    order = stream(plan.config.seed, "export rows").permutation(len(rows))
    judged, fitted = np.sort(order[: len(rows) // 4]), np.sort(order[len(rows) // 4 :])
    origins = {"dense": dense} if transformed else {"dense": dense, "student": student_module(plan)}
    return Ground(
        origins=origins,
        material=Material(inputs[fitted], rows.targets[fitted], data, plan.task.loss, teacher=dense),
        judged=Split(inputs[judged], rows.targets[judged], inputs[judged]),
        metric=plan.task.metric,
        private=plan.private,
        judged_data=data,
    )


def _rows(plan: Plan, private_rows: bool) -> tuple[Split, DataTouched]:
    public = plan.public_split()
    if len(public) >= _FEWEST_ROWS:
        return public, "public"
    if not private_rows or plan.private:
        why = "a private mode's rows are nobody's to choose by" if plan.private else "or pass --private-rows"
        problem = (
            f"data.public_examples: expected at least {_FEWEST_ROWS} public rows to make and judge a small model, got "
            f"{len(public)}; {why}"
        )
        raise ConfigError([problem])
    return plan.task.train().take(np.concatenate(plan.split_rows[0])), "private"
