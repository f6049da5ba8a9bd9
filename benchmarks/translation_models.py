"""The small models of a translation run: the dense one with fewer layers and heads, learning again from its answers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.plan import make_plan
from fedcomp.released import released_modules
from fedcomp.rng import stream
from fedcomp.run_files import RunDirectory
from fedcomp.shrink.base import Material, shrink
from fedcomp.shrink.registry import step_from_config
from fedcomp.tasks.models.transformer import Transformer
from fedcomp.tasks.translation import Translation

SHALLOW = "shallow"
_BATCH = 32
_CUTS: Mapping[str, Mapping[str, Any]] = {
    SHALLOW: {"id": "depth", "stack": "decoder", "keep": 1},
    "shallow, heads 50 %": {"id": "heads", "ratio": 0.5},
}
"""By the name of what comes out: a step upon the model before it; the first is the dense one."""


@dataclass(frozen=True, eq=False)
class Taken:
    """What is taken of a run: its model and public rows (``material``), and test rows ``[n, s]`` with references."""

    name: str
    task: Translation
    dense: Transformer
    material: Material
    source: NDArray[np.int64]
    references: list[str]
    seed: int
    private: bool


@dataclass(frozen=True, eq=False)
class Small:
    """A model, and each step that made it: its config, and whose rows it read."""

    name: str
    module: Transformer
    steps: tuple[tuple[Mapping[str, Any], str], ...] = ()

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        return sum(each.numel() for each in self.module.parameters())


def take(run: Path, rows: int | None) -> Taken:
    """Return what is measured of the finished run in the directory ``run``, on the first ``rows`` test rows, or all.

    Raises:
        SystemExit: for a run of another task, or one without public rows, which small models learn from.
    """
    plan = make_plan(RunDirectory.open(run).config())
    if not isinstance(plan.task, Translation):
        raise SystemExit(f"{run}: expected a run of a translation task, got {plan.config.task}")
    dense = released_modules(plan, run)["global"]
    if not isinstance(dense, Transformer):
        raise SystemExit(f"{run}: expected a Transformer, got a {type(dense).__name__}")
    public, test = plan.public_split(), plan.task.test()
    if not len(public):
        raise SystemExit(f"{run}: expected public rows to learn from, got 0; set data.public_examples")
    return Taken(
        name=plan.config.name,
        task=plan.task,
        dense=dense,
        material=Material(public.inputs, public.targets, "public", plan.task.loss, teacher=dense),
        source=test.inputs[:rows, : dense.source_length],
        references=plan.task.subwords.decode(test.targets[:rows]),
        seed=plan.config.seed,
        private=plan.private,
    )


def trained_by_clients(run: Path) -> Small:
    """Return the shallow model of the finished run at ``run``, whose clients trained it with the dense one as teacher.

    Raises:
        SystemExit: for a run of another model.
    """
    plan = make_plan(RunDirectory.open(run).config())
    module = released_modules(plan, run)["global"]
    if not isinstance(module, Transformer) or len(module.decoder) != 1 or plan.config.teacher is None:
        raise SystemExit(
            f"{run}: expected a run with [teacher] that trains a Transformer with one layer in its decoder"
        )
    return Small(SHALLOW, module, (({"id": "teacher", "run": plan.config.name}, "private"),))


def make_small(
    taken: Taken, steps: int, learning_rate: float, say: Callable[[str], None], shallow: Small | None = None
) -> list[Small]:
    """Return the dense model and each that is made of it, by cuts with so many ``steps`` of training after each.

    A ``shallow`` one that is there already is not made.
    """
    epochs = math.ceil(steps * _BATCH / len(taken.material.inputs))
    recovery = step_from_config(
        {
            "id": "distil",
            "epochs": epochs,
            "batch_size": _BATCH,
            "learning_rate": learning_rate,
            "hard_label_weight": 0.3,
            "padding": taken.task.padding,
        }
    )
    found = [Small("dense", taken.dense)]
    for name, cut in _CUTS.items():
        if name == SHALLOW and shallow is not None:
            found.append(shallow)
            continue
        say(f"making {name}: {epochs} epochs")
        rng = stream(taken.seed, "benchmark", name)
        made = shrink(found[-1].module, [step_from_config(cut), recovery], taken.material, rng, private=taken.private)
        if not isinstance(made.module, Transformer):
            raise TypeError(f"{name}: expected a Transformer, got {type(made.module).__name__}")
        found.append(Small(name, made.module, (*found[-1].steps, *made.steps)))
    return found
