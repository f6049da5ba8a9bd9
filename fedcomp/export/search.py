"""Candidates made and measured: every recipe in every number format of every runtime, side by side."""

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

Made = tuple[str, Shrunk]
"""What a recipe started from, by name, and what it made."""
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
class Built:
    """A candidate as a file, and what it was made from."""

    name: str
    recipe: str
    origin: str
    runtime: str
    number_format: str
    content: bytes
    program: Program
    shrunk: Shrunk
    touched: tuple[tuple[Mapping[str, Any], str], ...]


@dataclass(frozen=True)
class Timing:
    """How time is taken: rows a batch, threads, and rounds in which everything takes its turn once."""

    batch: int = 1
    threads: int = 1
    rounds: int = 9


def make_modules(
    ground: Ground, recipes: Sequence[Recipe], rng: np.random.Generator, say: Callable[[str], None]
) -> dict[str, Made]:
    """Return what each recipe makes; one that does not fit the model is left out, with a word about it.

    Raises:
        ConfigError: if a recipe would read private rows under a private mode.
    """
    made: dict[str, Made] = {}
    for recipe in recipes:
        say(f"making {recipe.name}")
        try:
            origin = ground.origins[recipe.origin]
            made[recipe.name] = (
                recipe.origin,
                shrink(origin, recipe.steps, ground.material, rng, private=ground.private),
            )
        except ShrinkError as error:
            say(f"left out {recipe.name}: {error}")
    return made


def build(
    made: Mapping[str, Made],
    runtimes: Sequence[Runtime],
    rows: NDArray[Any],
    data: DataTouched,
    say: Callable[[str], None],
    threads: int = 1,
    formats: Collection[str] | None = None,
) -> Iterator[Built]:
    """Yield every module in every number format of every runtime; what cannot be built is left out, with a word.

    ``formats`` are those that are tried, all if None. ``rows`` calibrate the ranges of activations where a format needs
    that; ``data`` says whose they are.
    """
    for recipe, (origin, shrunk) in made.items():
        for runtime in runtimes:
            wanted = [each for each in runtime.formats if formats is None or each in formats]
            for number_format, content in runtime.build_all(shrunk.module, rows, wanted):
                name = f"{recipe} {runtime.name} {number_format}"
                if isinstance(content, ExportError):
                    say(f"left out {name}: {content}")
                    continue
                program = runtime.open(content, threads)
                reads: DataTouched = data if number_format in runtime.calibrated else "none"
                touched = (*shrunk.steps, ({"id": number_format}, reads))
                yield Built(name, recipe, origin, runtime.name, number_format, content, program, shrunk, touched)


def measure(
    ground: Ground, candidates: Sequence[Built], baseline: Program, timing: Timing, rng: np.random.Generator
) -> list[Measured]:
    """Return what each candidate loses on the judged rows, and how fast it is beside the dense model.

    ``baseline`` is the dense model in ONNX Runtime at fp32. Everything takes turns in one process, in random order, and
    a speed-up is the median over rounds of the ratio within a round: times taken apart do not compare.
    """
    rows, targets = np.asarray(ground.judged.inputs), ground.judged.targets
    scores = {built.name: right_rows(answers(built.program, rows), targets, ground.metric) for built in candidates}
    dense = right_rows(answers(baseline, rows), targets, ground.metric)
    batch = np.ascontiguousarray(model_rows(rows[np.arange(timing.batch) % len(rows)]))
    eager = eager_program(ground.origins["dense"])
    programs = {BASELINE: baseline, EAGER: eager} | {built.name: built.program for built in candidates}
    runs = {name: _bound(program, batch) for name, program in programs.items()}
    times = interleaved(runs, BASELINE, rounds=timing.rounds, rng=rng)
    found = []
    for built in candidates:
        lost = paired_loss(dense, scores[built.name])
        time = times[built.name]
        found.append(
            Measured(
                name=built.name,
                recipe=built.recipe,
                runtime=built.runtime,
                number_format=built.number_format,
                bytes=len(built.content),
                latency_ms=time.milliseconds,
                speed_up=time.ratio,
                eager_speed_up=time.ratio_to(times[EAGER])[1],
                accuracy=float(scores[built.name].mean()),
                accuracy_loss=lost.points,
                loss_interval=lost.interval,
                output_error=relative_error(built.shrunk.module, built.program, model_rows(rows[:64])),
                touched=built.touched,
            )
        )
    return found


def _bound(program: Program, batch: NDArray[Any]) -> Callable[[], object]:
    return lambda: program(batch)
