"""The small model of a finished run: candidates made, measured, one chosen, and written with its manifest."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.errors import ConfigError, RunError
from fedcomp.export.candidate import Measured, Recipe
from fedcomp.export.finer import Lessons, finer_recipes
from fedcomp.export.ground import ground_of
from fedcomp.export.recipes import RATIOS, recipes_for
from fedcomp.export.search import Built, Ground, Made, Timing, build, make_modules, measure
from fedcomp.export.target import Choice, Target, choose
from fedcomp.export.writer import Writer
from fedcomp.plan import make_plan
from fedcomp.rng import stream
from fedcomp.run_files import RunDirectory
from fedcomp.runtimes.base import Program, Runtime
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.shrink.base import Material
from fedcomp.shrink.registry import step_from_config

FAST_FORMATS = ("fp32", "int8-static", "int8-dynamic", "int4-weight")
"""Number formats that are tried for speed; the others are tried where a small file is asked for."""
_BATCH = 32
_ROUNDING_SHARE = 1 / 3  # of a recovery's steps, to learn to live with rounding
_BITS = 7  # of weights in products, see fedcomp.runtimes.int8
_LARGEST_ERROR = 0.5  # a file whose outputs are further from its module's than that computes something else


@dataclass(frozen=True)
class Wish:
    """What the user asks of an export.

    ``runtime`` is a runtime's name or ``any``; ``ratios`` are the shares that are cut; ``steps`` of training
    follow each cut; ``finer`` lets what was measured suggest more, see ``fedcomp.export.finer``. Where there are no
    public rows, ``private_rows`` lets the clients' be read if no privacy is claimed, and ``made_up_rows`` makes some,
    which measure no accuracy.
    """

    target: Target
    runtime: str = "onnxruntime"
    ratios: tuple[float, ...] = RATIOS
    steps: int = 1500
    timing: Timing = field(default_factory=Timing)
    private_rows: bool = False
    made_up_rows: bool = False
    finer: bool = True


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
    ground = ground_of(plan, path, private_rows=wish.private_rows, made_up_rows=wish.made_up_rows)
    lessons = _lessons(ground.material, wish.steps, plan.task.padding)
    built, measured = _Search(ground, wish, runtimes, lessons, stream(plan.config.seed, "export"), say).run()
    seconds = time.perf_counter() - began
    writer = Writer(plan, run, ground, wish.timing)
    asked = wish.target.sentence(ground.judged_data)
    writer.curve(asked, measured, None, seconds)  # first without: if none keeps the target, it shows by how much
    choice = choose(measured, wish.target, ground.judged_data)
    writer.curve(asked, measured, choice, seconds)
    chosen = next(each for each in built if each.name == choice.chosen.name)
    folder = out or path / "small"
    model = writer.model(folder, choice, chosen)
    return Exported(folder, model, choice, tuple(measured), chosen, ground.origins["dense"])


@dataclass(frozen=True, eq=False)
class _Search:
    """From coarse to fine: recipes made, built and measured; then more, and all of them measured side by side."""

    ground: Ground
    wish: Wish
    runtimes: list[Runtime]
    lessons: Lessons
    rng: np.random.Generator
    say: Callable[[str], None]

    def run(self) -> tuple[list[Built], list[Measured]]:
        dense, wish = self.ground.origins["dense"], self.wish
        student = "student" in self.ground.origins
        recipes = recipes_for(
            dense, self.lessons.recovery, self.ground.material.inputs[0], wish.ratios, student=student
        )
        made, built = self._made(recipes, {})
        measured = self._measured(built)
        if not wish.finer:
            return built, measured
        static = {each for runtime in self.runtimes for each in runtime.calibrated if self._tried(each)}
        modules = {name: each.shrunk.module for name, each in made.items()}
        finer = finer_recipes(recipes, modules, measured, wish.target, self.lessons, static)
        built += self._made(finer, made)[1]
        return built, self._measured(built) if finer else measured

    def _made(self, recipes: list[Recipe], earlier: dict[str, Made]) -> tuple[dict[str, Made], list[Built]]:
        made = make_modules(self.ground, recipes, self.rng, self.say, earlier)
        self.say("building and measuring")
        formats = [each for runtime in self.runtimes for each in runtime.formats if self._tried(each)]
        threads = self.wish.timing.threads
        return made, list(build(self.ground, made, self.runtimes, self._rows(), self.say, threads, formats))

    def _measured(self, built: list[Built]) -> list[Measured]:
        found = measure(self.ground, built, self._baseline(), self.wish.timing, self.rng)
        return [each for each in found if each.output_error <= _LARGEST_ERROR]

    def _baseline(self) -> Program:
        runtime = RUNTIMES["onnxruntime"]
        return runtime.open(runtime.build(self.ground.origins["dense"], self._rows()), self.wish.timing.threads)

    def _rows(self) -> NDArray[Any]:
        return np.asarray(self.ground.material.inputs[:512])

    def _tried(self, number_format: str) -> bool:
        return self.wish.target.bytes is not None or number_format in FAST_FORMATS


def _lessons(material: Material, steps: int, padding: int) -> Lessons:
    """Return what lets a model that was cut learn from the dense one again: as long, however few rows there are."""
    labels = 0.3 if material.targets is not None else 0.0
    options = {"batch_size": _BATCH, "hard_label_weight": labels, "padding": padding}

    def epochs(share: float) -> int:
        return math.ceil(share * steps * _BATCH / len(material.inputs))

    aware = {"id": "quantization-aware", "epochs": epochs(_ROUNDING_SHARE), "weight_bits": _BITS}
    return Lessons(
        recovery=step_from_config({"id": "distil", "epochs": epochs(1), **options}),
        rounding=step_from_config({**aware, **options}),
        padding=padding,
    )


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
