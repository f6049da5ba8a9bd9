"""One row of ``benchmarks.applications``: a federated run, its small model, and both models on the test rows."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.application_cases import Application
from fedcomp.audit.membership import MembershipReport, infer_membership
from fedcomp.config import Config
from fedcomp.evaluation import per_example_losses
from fedcomp.export.paired import answers, paired_loss, right_rows
from fedcomp.export.search import Timing
from fedcomp.export.story import Exported, Wish, export_run
from fedcomp.export.target import Target
from fedcomp.latency import interleaved
from fedcomp.plan import Plan, make_plan
from fedcomp.rng import stream
from fedcomp.run_audit.shadow import attacks_on
from fedcomp.runtimes.eager import eager_program
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.simulation import resume, simulate
from fedcomp.tasks import model_rows
from fedcomp.threads import single_thread

Leakage = dict[str, dict[str, dict[str, float]]]
"""By model (``dense``, ``small``) and attack: AUC, and the share recognised at .1 % and 1 % falsely accused."""
_ATTACKED = 5000


@dataclass(frozen=True)
class Speed:
    """Time of a batch of the small model, and medians of ratios within a round; quartiles of the first ratio."""

    batch: int
    milliseconds: float
    speed_up: float
    quartiles: tuple[float, float]
    eager_speed_up: float


@dataclass(frozen=True)
class Row:
    """What one seed of an application gave.

    ``dense`` and ``small`` are the task's metric on the test rows, ``lost`` the points between them with the 95 %
    interval of the paired rows, ``auc_lost`` where the task has an AUC; ``file`` the small file over the dense one in
    fp32; ``leakage`` what attacks find.
    """

    name: str
    seed: int
    chosen: str
    epsilon: str
    dense: float
    small: float
    lost: float
    interval: tuple[float, float]
    auc: float | None
    auc_lost: float | None
    file: float
    kilobytes: float
    speeds: tuple[Speed, ...]
    leakage: Leakage
    seconds: float


@dataclass(frozen=True)
class Effort:
    """How much is done: steps of training after each cut, rounds of timing, and whether LiRA is carried out
    (16 models of the dense architecture are trained for it)."""

    steps: int
    rounds: int
    shadows: bool


def carry_out(case: Application, seed: int, folder: Path, effort: Effort) -> Row:
    """Train (or take up) the run, export its small model, and measure both on rows that nothing was chosen by."""
    run = folder / f"{case.config}-{seed}"
    config = case.at(seed)
    summary = _summary(run, config)
    wish = Wish(Target(accuracy_loss=case.loss), "any", steps=effort.steps, timing=Timing(rounds=effort.rounds))
    with single_thread():
        found = export_run(run, wish, say=lambda text: sys.stderr.write(f"{case.name}, seed {seed}: {text}\n"))
        return _row(case, seed, make_plan(config), found, summary, effort)


def _summary(run: Path, config: Config) -> dict[str, Any]:
    if (run / "summary.json").exists():
        found: dict[str, Any] = json.loads((run / "summary.json").read_text())
        return found
    return (resume(run) if (run / "config.toml").exists() else simulate(config, out=run)).summary


def _row(case: Application, seed: int, plan: Plan, found: Exported, summary: dict[str, Any], effort: Effort) -> Row:
    test, task = plan.task.test(), plan.task
    rows = np.asarray(test.raw)
    outputs = {
        "dense": answers(eager_program(found.dense), rows),
        "small": answers(found.small.program, rows),
    }
    right = {name: right_rows(each, test.targets, task.metric) for name, each in outputs.items()}
    lost = paired_loss(right["dense"], right["small"])
    aucs = [_auc(task, outputs[name], test.targets) for name in ("dense", "small")]
    dense = RUNTIMES["onnxruntime"].build(found.dense, model_rows(rows[:64]))
    return Row(
        name=case.name,
        seed=seed,
        chosen=found.choice.chosen.name,
        epsilon=summary["epsilon"].get("sentence", "none"),
        dense=float(right["dense"].mean()),
        small=float(right["small"].mean()),
        lost=lost.points,
        interval=lost.interval,
        auc=aucs[0],
        auc_lost=None if aucs[0] is None or aucs[1] is None else aucs[0] - aucs[1],
        file=len(found.small.content) / len(dense),
        kilobytes=len(found.small.content) / 1e3,
        speeds=tuple(_speed(found, dense, rows, aim.batch, effort.rounds, seed) for aim in case.aims),
        leakage=_leakage(plan, found, effort.shadows),
        seconds=float(summary["seconds"]["training"]),
    )


def _speed(found: Exported, dense: bytes, rows: NDArray[Any], batch: int, rounds: int, seed: int) -> Speed:
    some = np.ascontiguousarray(model_rows(rows[np.arange(batch) % len(rows)]))
    baseline, eager, small = RUNTIMES["onnxruntime"].open(dense), eager_program(found.dense), found.small.program
    programs: dict[str, Callable[[], object]] = {
        "dense": lambda: baseline(some),
        "eager": lambda: eager(some),
        "small": lambda: small(some),
    }
    times = interleaved(programs, "dense", rounds=rounds, rng=stream(seed, "speed", batch))
    mine = times["small"]
    return Speed(batch, mine.milliseconds, mine.ratio, mine.ratio_quartiles, mine.ratio_to(times["eager"])[1])


def _leakage(plan: Plan, found: Exported, shadows: bool) -> Leakage:
    """Return what attacks find: members are rows that clients trained on, others are test rows."""
    train, test, rng = plan.task.train(), plan.task.test(), stream(plan.config.seed, "leakage")
    members = np.concatenate(plan.split_rows[0])
    count = min(_ATTACKED, len(members), len(test))
    held_in = train.take(np.sort(rng.permutation(members)[:count]))
    held_out = test.take(np.sort(rng.permutation(len(test))[:count]))
    modules = {"dense": found.dense, "small": found.small.shrunk.module}
    reports = {
        name: infer_membership(
            *(per_example_losses(module, part.raw, part.targets, plan.task.loss) for part in (held_in, held_out)),
            delta=plan.config.privacy.delta,
            rng=stream(plan.config.seed, "leakage", name),
        )
        for name, module in modules.items()
    }
    shadowed = attacks_on(plan, modules) if shadows else {name: {} for name in modules}
    return {
        name: {"loss": _facts(report), **{attack: _facts(each) for attack, each in shadowed[name].items()}}
        for name, report in reports.items()
    }


def _facts(report: MembershipReport) -> dict[str, float]:
    rates = {f"tpr_at_{point.fpr:g}": point.tpr for point in report.tpr_at_fpr}
    return {"auc": report.auc, "auc_low": report.auc_low, "auc_high": report.auc_high, **rates}


def _auc(task: Any, outputs: NDArray[Any], targets: NDArray[np.int64]) -> float | None:
    if not hasattr(task, "auc"):
        return None
    return float(task.auc(torch.from_numpy(outputs), torch.from_numpy(targets)))
