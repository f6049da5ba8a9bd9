"""What comes of a run once its rounds are done: the small model, the audit, and the summary of it all.

The student is made from released state and public data alone, so the guarantee carries over to it.
"""

import importlib.metadata
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fedcomp.arrays import Arrays
from fedcomp.audit.finding import Finding
from fedcomp.errors import RunError
from fedcomp.evaluation import Evaluation, evaluate, model_cost
from fedcomp.memory import peak_memory_mb
from fedcomp.observer import Observer
from fedcomp.plan import Plan, make_plan
from fedcomp.plan.teacher import about_model
from fedcomp.released import global_module, released_modules, student_module
from fedcomp.report import write_report
from fedcomp.rng import stream
from fedcomp.run_audit import AuditResult, Rehearse, audit_models, audit_whole
from fedcomp.run_files import Checkpoint, RunDirectory
from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_file import export_onnx
from fedcomp.shrink import distil, load_arrays, save_arrays
from fedcomp.shrink.distillation.start import started_from
from fedcomp.statement import statement
from fedcomp.tasks import model_rows
from fedcomp.training import get_arrays

_PACKAGES = ("fedcomp", "flwr", "torch", "opacus", "dp-accounting", "cryptography", "numpy")


def evaluate_model(plan: Plan, arrays: Arrays) -> Evaluation:
    """Return what a global model scores on the test rows."""
    test = plan.task.test()
    return evaluate(global_module(plan, arrays), test.inputs, test.targets, plan.task.loss, plan.task.metric)


def finish(plan: Plan, run: RunDirectory, checkpoint: Checkpoint, observer: Observer, *, setup_seconds: float) -> None:
    """Make the student, audit both models, and write every file that a finished run has."""
    clock = {"setup": setup_seconds, "training": float(checkpoint.totals["seconds"])}
    arrays = checkpoint.server_model.model
    teacher = global_module(plan, arrays)
    save_arrays(run.path / "global.safetensors", arrays, about_model(plan.config, teacher))
    modules, started = {"global": teacher}, time.perf_counter()
    onnx_bytes = None
    if plan.config.student.enabled:
        observer.phase("distilling the student on public data")
        modules["student"] = _distil(plan, teacher)
        student = get_arrays(modules["student"])
        save_arrays(run.path / "student.safetensors", student, {"task": plan.config.task, "role": "student"})
        onnx_bytes = _export(plan, modules["student"], run.path / "student.onnx", observer)
    clock["student"], started = time.perf_counter() - started, time.perf_counter()
    observer.phase("auditing the released models and the ledger")
    audit = audit_models(plan, run, modules, checkpoint.totals, attack=plan.config.audit.enabled)
    run.write_json("audit.json", audit.to_json())
    clock["audit"] = time.perf_counter() - started
    summary = _summary(plan, checkpoint, modules, audit, clock)
    if summary["student"] is not None and onnx_bytes is not None:
        summary["student"]["onnx_bytes"] = onnx_bytes
    run.write_json("summary.json", summary)
    _write_statement(plan, run, audit, checkpoint.totals)
    observer.phase("writing the report")
    write_report(run.path)


def export_student(path: Path, target: Path) -> Path:
    """Write the student of the finished run at ``path`` as ONNX, and return ``target``.

    Raises:
        RunError: if the run has no student.
        ExportError: if the ``edge`` extra is not installed, or the exported model does not answer as the student does.
    """
    run = RunDirectory.open(path)
    if not (path / "student.safetensors").exists():
        raise RunError(f"{path} has no student.safetensors: the run is not finished, or student.enabled is false")
    plan = make_plan(run.config())
    export_onnx(student_module(plan, load_arrays(path / "student.safetensors")[0]), _examples(plan), target)
    return target


def audit_run(
    path: Path, rehearse: Rehearse, *, quick: bool = False, observer: Observer | None = None
) -> tuple[Finding, ...]:
    """Audit the finished run at ``path``, write what was found into its files and its report, and return it.

    ``rehearse`` makes one round of a plan with real clients; see ``audit_whole``.

    Raises:
        RunError: if the run is not finished or its files are damaged.
    """
    run = RunDirectory.open(path)
    checkpoint = run.load_checkpoint()
    if checkpoint is None or not (path / "summary.json").exists():
        raise RunError(f"{path} is not finished: expected a summary.json; run `fedcomp resume {path}` first")
    plan = make_plan(run.config())
    modules = released_modules(plan, path)
    say = (observer or Observer()).phase
    audit = audit_whole(plan, run, modules, checkpoint.totals, quick=quick, rehearse=rehearse, say=say)
    run.write_json("audit.json", audit.to_json())
    _write_statement(plan, run, audit, checkpoint.totals)
    write_report(path)
    return audit.findings


def _distil(plan: Plan, teacher: nn.Module) -> nn.Module:
    settings = plan.config.student

    def logits(raw: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs = plan.task.features(raw)
        pieces = min(16, -(-len(inputs) // 64))  # a batch of sequences is asked at once
        with torch.no_grad():
            parts = [teacher(torch.from_numpy(model_rows(part))) for part in np.array_split(inputs, pieces)]
        return torch.cat(parts).numpy()

    student = student_module(plan)
    if settings.start == "teacher":
        student = started_from(student, teacher)
    return distil(
        student,
        plan.public_split(),
        logits,
        temperature=settings.temperature,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        hard_label_weight=settings.hard_label_weight,
        copies=settings.copies,
        loss=plan.task.loss,
        padding=plan.task.padding,
        rng=stream(plan.config.seed, "distil"),
    )


def _export(plan: Plan, student: nn.Module, path: Path, observer: Observer) -> int | None:
    try:
        return export_onnx(student, _examples(plan), path).bytes
    except ExportError as error:
        observer.phase(f"the run has no student.onnx: {error}")
        return None


def _examples(plan: Plan) -> NDArray[Any]:
    return model_rows(plan.task.test().raw[:32])


def _summary(
    plan: Plan, checkpoint: Checkpoint, modules: Mapping[str, nn.Module], audit: AuditResult, clock: dict[str, float]
) -> dict[str, Any]:
    config, totals, task = plan.config, checkpoint.totals, plan.task
    test, spent = task.test(), plan.spent_after(max(totals["trained"].values(), default=0))
    scores = {"global": test.inputs, "student": test.raw}
    accuracy = {
        name: evaluate(module, scores[name], test.targets, task.loss, task.metric).accuracy
        for name, module in modules.items()
    }
    costs = {name: vars(model_cost(module, model_rows(scores[name][:1]))) for name, module in modules.items()}
    sent, received = totals["uplink_bytes"], totals["downlink_bytes"]
    return {
        "name": config.name,
        "task": config.task,
        "mode": config.privacy.mode,
        "seed": config.seed,
        "rounds": checkpoint.round,
        "clients": {
            "population": config.clients.population,
            "cohort": config.clients.cohort or config.clients.population,
        },
        "data": {
            "train": sum(map(len, plan.split_rows[0])),
            "public": len(plan.split_rows[1]),
            "test": len(test),
            "dataset_id": task.dataset_id(),
        },
        "accuracy": {"global": accuracy["global"], "student": accuracy.get("student")},
        **{
            name: totals[name]
            for name in ("uplink_bytes", "downlink_bytes", "uplink_fp32_bytes", "downlink_fp32_bytes")
        },
        "uplink_compression": totals["uplink_fp32_bytes"] / max(sent, 1),
        "downlink_compression": totals["downlink_fp32_bytes"] / max(received, 1),
        "bits_per_parameter": 32 * sent / max(totals["uplink_fp32_bytes"], 1),
        "epsilon": _epsilon(plan, spent),
        "leakage": audit.leakage(),
        "model": costs["global"],
        "student": costs.get("student"),
        "uplink": plan.uplink.config(),
        "downlink": plan.downlink.config(),
        "refused": totals["refused"],
        "seconds": {**{name: round(value, 2) for name, value in clock.items()}, "total": round(sum(clock.values()), 2)},
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "claims": audit.claims(),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def _write_statement(plan: Plan, run: RunDirectory, audit: AuditResult, totals: Mapping[str, Any]) -> None:
    rounds = max(totals["trained"].values(), default=0)
    found = statement(plan, plan.spent_after(rounds), audit.findings, _versions(), rounds)
    run.write_json("statement.json", found)


def _epsilon(plan: Plan, spent: Any) -> dict[str, Any]:
    if spent is None:
        return {"value": None, "mode": plan.config.privacy.mode}
    fields = spent.to_json()
    return {"value": fields.pop("epsilon"), **fields, "sentence": spent.sentence()}
