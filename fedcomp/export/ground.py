"""What a search stands on: the run's released models, rows to make small ones from, and others to judge them by."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.errors import ConfigError, RunError
from fedcomp.export.paired import answers
from fedcomp.export.search import Ground
from fedcomp.plan import Plan
from fedcomp.released import released_modules, student_module
from fedcomp.rng import stream
from fedcomp.runtimes.eager import eager_program
from fedcomp.shrink.base import DataTouched, Material
from fedcomp.shrink.synthetic import made_up
from fedcomp.tasks import Split, model_rows

_FEWEST_ROWS = 40
_TO_KNOW, _TO_LEARN = 1000, 750  # rows that are enough
_TO_MAKE, _TO_JUDGE = 2000, 1000  # made-up rows


def ground_of(plan: Plan, path: Path, *, private_rows: bool = False, made_up_rows: bool = False) -> Ground:
    """Return the ground of the finished run at ``path``.

    Where there are fewer than 40 public rows, ``private_rows`` lets the clients' be read, under mode ``none``;
    ``made_up_rows`` makes some from the dense model, and judges by how often a candidate's answer is the dense
    model's: that is no accuracy, and nobody knows how far from it.

    Raises:
        RunError: if a file is missing or damaged, or the run has no model that eats raw rows.
        ConfigError: if there are no rows to make and judge models by.
    """
    modules = released_modules(plan, path)
    train = plan.task.train()
    # a student that eats raw rows stands in for a global model that eats features: a device has no feature transform
    transformed = train.raw is not train.inputs
    if transformed and "student" not in modules:
        raise RunError(f"{path} has no student, and its global model eats features: set student.enabled")
    dense = modules["student"] if transformed else modules["global"]
    origins = {"dense": dense} if transformed else {"dense": dense, "student": student_module(plan)}
    if private_rows and made_up_rows:
        raise ConfigError(["--made-up-rows: expected it without --private-rows, got both"])
    public = plan.public_split()
    if len(public) >= _FEWEST_ROWS:
        return _split(plan, origins, public, "public")
    if made_up_rows:
        return _made_up(plan, origins, model_rows(train.raw[:1]))
    if private_rows and not plan.private:
        return _split(plan, origins, train.take(np.concatenate(plan.split_rows[0])), "private")
    why = "a private mode's rows are nobody's to choose by" if plan.private else "or pass --private-rows"
    problem = (
        f"data.public_examples: expected at least {_FEWEST_ROWS} public rows to make and judge a small model, got "
        f"{len(public)}; {why}; --made-up-rows needs none, and measures no accuracy"
    )
    raise ConfigError([problem])


def judged_rows(rows: int) -> int:
    """Return how many of ``rows`` are to judge by, and not to make models from: a quarter; where that is few, more.

    A loss is known to about one over the root of that number: up to half of the rows go to it, or a thousand, as long
    as 750 are left to make models from. With fewer, what the models lose is worse than not knowing it well.
    """
    return max(rows // 4, min(rows // 2, _TO_KNOW, rows - _TO_LEARN))


def _split(plan: Plan, origins: dict[str, nn.Module], rows: Split, data: DataTouched) -> Ground:
    inputs, count = model_rows(rows.raw), judged_rows(len(rows))
    order = stream(plan.config.seed, "export rows").permutation(len(rows))
    judged, fitted = np.sort(order[:count]), np.sort(order[count:])
    return Ground(
        origins=origins,
        material=Material(inputs[fitted], rows.targets[fitted], data, plan.task.loss, teacher=origins["dense"]),
        judged=Split(inputs[judged], rows.targets[judged], inputs[judged]),
        metric=plan.task.metric,
        private=plan.private,
        judged_data=data,
    )


def _made_up(plan: Plan, origins: dict[str, nn.Module], row: NDArray[Any]) -> Ground:
    if not np.issubdtype(row.dtype, np.floating):
        raise ConfigError([f"--made-up-rows: expected a task of floating point rows, got {row.dtype}"])
    dense, loss = origins["dense"], plan.task.loss
    material, others = (
        made_up(dense, row.shape[1:], count, loss, stream(plan.config.seed, "made-up rows", name))
        for name, count in (("make", _TO_MAKE), ("judge", _TO_JUDGE))
    )
    likeliest = answers(eager_program(dense), others.inputs).argmax(axis=1)
    return Ground(
        origins=origins,
        material=material,
        judged=Split(others.inputs, likeliest, others.inputs),
        metric=_agreement,
        private=plan.private,
        judged_data="synthetic",
    )


def _agreement(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs.argmax(dim=1) == targets).double().mean())
