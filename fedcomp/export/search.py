"""Candidates made and measured: every recipe in every number format of every runtime, side by side."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.export.candidate import Measured, Recipe
from fedcomp.export.paired import answers, paired_loss, right_rows
from fedcomp.latency import interleaved
from fedcomp.runtimes.base import ExportError, Program, Runtime, relative_error
from fedcomp.runtimes.eager import eager_program
from fedcomp.shrink.base import DataTouched, Material, ShrinkError, Shrunk, admit, shrink
from fedcomp.tasks import Split, model_rows

BASELINE, EAGER = "dense onnxruntime fp32", "dense eager"


@dataclass(frozen=True, eq=False)
class Ground:
    """What a search stands on.

    ``origins`` are the modules that recipes start from, by name; ``dense`` among them is what all is compared with.
    ``material`` is what steps may read, ``judged`` the labelled rows that accuracy is measured on, which no step reads;
    ``private`` says that private rows are refused for both.
    """

    origins: Mapping[str, nn.Module]
    material: Material
    judged: Split
    metric: Callable[[Tensor, Tensor], float]
    private: bool
    judged_data: DataTouched = "public"

    def __post_init__(self) -> None:
        if self.private:
            admit("choosing among candidates", self.judged_data)


@dataclass(frozen=True, eq=False)
class Made:
    """What a recipe made, and the model that it all started from: ``dense`` or ``student``."""

    recipe: Recipe
    origin: str
    shrunk: Shrunk


@dataclass(frozen=True, eq=False)
class Built:
    """A candidate as a file, and what it was made from.

    ``scores [n]`` are its metric on each of the rows to judge by, ``output_error`` how far its outputs are from those
    of the module.
    """

    name: str
    recipe: str
    origin: str
    runtime: str
    number_format: str
    content: bytes
    program: Program
    shrunk: Shrunk
    touched: tuple[tuple[Mapping[str, Any], str], ...]
    scores: NDArray[np.float64]
    output_error: float


@dataclass(frozen=True)
class Timing:
    """How time is taken: rows a batch, threads, and rounds in which everything takes its turn once."""

    batch: int = 1
    threads: int = 1
    rounds: int = 9


def make_modules(
    ground: Ground,
    recipes: Sequence[Recipe],
    rng: np.random.Generator,
    say: Callable[[str], None],
    earlier: Mapping[str, Made] | None = None,
) -> dict[str, Made]:
    """Return what each recipe makes; one that does not fit the model is left out, with a word about it.

    ``earlier`` is what was made before, which recipes may go on from.

    Raises:
        ConfigError: if a recipe would read private rows under a private mode.
    """
    made: dict[str, Made] = {}
    for recipe in recipes:
        say(f"making {recipe.name}")
        try:
            made[recipe.name] = _make(ground, recipe, rng, earlier or {})
        except ShrinkError as error:
            say(f"left out {recipe.name}: {error}")
    return made


def _make(ground: Ground, recipe: Recipe, rng: np.random.Generator, earlier: Mapping[str, Made]) -> Made:
    before = None if recipe.after is None else earlier[recipe.after]
    origin = recipe.origin if before is None else before.origin
    start = ground.origins[origin] if before is None else before.shrunk.module
    shrunk = shrink(start, recipe.steps, ground.material, rng, private=ground.private)
    return Made(recipe, origin, Shrunk(shrunk.module, (*(before.shrunk.steps if before else ()), *shrunk.steps)))


def build(
    ground: Ground,
    made: Mapping[str, Made],
    runtimes: Sequence[Runtime],
    rows: NDArray[Any],
    say: Callable[[str], None],
    threads: int = 1,
    formats: Collection[str] | None = None,
) -> Iterator[Built]:
    """Yield every module in every number format of every runtime; what cannot be built is left out, with a word.

    ``formats`` are those that are tried, all if None. ``rows``, the material's, calibrate the ranges of activations
    where a format needs that.
    """
    inputs, targets = np.asarray(ground.judged.inputs), ground.judged.targets
    for name, each in made.items():
        for runtime in runtimes:
            for number_format, content in runtime.build_all(each.shrunk.module, rows, _wanted(each, runtime, formats)):
                full = f"{name} {runtime.name} {number_format}"
                if isinstance(content, ExportError):
                    say(f"left out {full}: {content}")
                    continue
                program = runtime.open(content, threads)
                reads: DataTouched = ground.material.data if number_format in runtime.calibrated else "none"
                yield Built(
                    name=full,
                    recipe=name,
                    origin=each.origin,
                    runtime=runtime.name,
                    number_format=number_format,
                    content=content,
                    program=program,
                    shrunk=each.shrunk,
                    touched=(*each.shrunk.steps, ({"id": number_format}, reads)),
                    scores=right_rows(answers(program, inputs), targets, ground.metric),
                    output_error=relative_error(each.shrunk.module, program, model_rows(inputs[:64])),
                )


def _wanted(made: Made, runtime: Runtime, formats: Collection[str] | None) -> list[str]:
    limits = [limit for limit in (formats, made.recipe.formats) if limit is not None]
    return [each for each in runtime.formats if all(each in limit for limit in limits)]


def measure(
    ground: Ground, candidates: Sequence[Built], baseline: Program, timing: Timing, rng: np.random.Generator
) -> list[Measured]:
    """Return what each candidate loses on the judged rows, and how fast it is beside the dense model.

    ``baseline`` is the dense model in ONNX Runtime at fp32. Everything takes turns in one process, in random order, and
    a speed-up is the median over rounds of the ratio within a round: times taken apart do not compare. With one thread
    it is processor time, so that what others on the machine make a program wait chooses nothing.
    """
    rows, targets = np.asarray(ground.judged.inputs), ground.judged.targets
    dense = right_rows(answers(baseline, rows), targets, ground.metric)
    batch = np.ascontiguousarray(model_rows(rows[np.arange(timing.batch) % len(rows)]))
    eager = eager_program(ground.origins["dense"])
    programs = {BASELINE: baseline, EAGER: eager} | {built.name: built.program for built in candidates}
    runs = {name: _bound(program, batch) for name, program in programs.items()}
    clock = time.process_time if timing.threads == 1 else time.perf_counter
    times = interleaved(runs, BASELINE, rounds=timing.rounds, rng=rng, clock=clock)
    found = []
    for built in candidates:
        lost = paired_loss(dense, built.scores)
        taken = times[built.name]
        found.append(
            Measured(
                name=built.name,
                recipe=built.recipe,
                runtime=built.runtime,
                number_format=built.number_format,
                bytes=len(built.content),
                latency_ms=taken.milliseconds,
                speed_up=taken.ratio,
                eager_speed_up=taken.ratio_to(times[EAGER])[1],
                accuracy=float(built.scores.mean()),
                accuracy_loss=lost.points,
                loss_interval=lost.interval,
                output_error=built.output_error,
                touched=built.touched,
            )
        )
    return found


def _bound(program: Program, batch: NDArray[Any]) -> Callable[[], object]:
    return lambda: program(batch)
