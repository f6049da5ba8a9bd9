"""Recovery training as a config asks for it: the teacher's file found and checked, the student made, once, from it.

Server and clients do this each on its own, from the same file and without a row of data, and come to the same student.
"""

import copy
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import nn

from fedcomp.config import Config, TeacherConfig
from fedcomp.errors import ConfigError, FedcompError
from fedcomp.rng import stream
from fedcomp.shrink import load_arrays
from fedcomp.shrink.base import Material, ShrinkError, Step, shrink
from fedcomp.shrink.registry import step_from_config
from fedcomp.shrink.taught import FrozenTeacher, TaughtTask, bare
from fedcomp.shrink.widths import resized, widths_of
from fedcomp.tasks import Task
from fedcomp.tasks.fetch import cache_directory
from fedcomp.training import set_arrays


def teacher_digest(config: TeacherConfig) -> str:
    """Return the SHA-256 of the teacher's file, as hex; it is the one that ``config`` states, if that states one.

    Raises:
        ConfigError: if no file is to be found, or another one.
    """
    path = _find(config)
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError([f"teacher.model: cannot read {path}: {error.strerror}"]) from error
    if config.sha256 not in (None, found):
        raise ConfigError([f"teacher.model: expected a file of SHA-256 {config.sha256}, got {found}"])
    return found


def taught_task(task: Task, config: Config, settings: TeacherConfig) -> TaughtTask:
    """Return ``task`` with the student of ``settings`` in place of its model, and the dense model as its teacher.

    Raises:
        ConfigError: with every reason why that cannot be trained; a file that is not the stated one among them.
    """
    steps = _steps(settings)
    if problems := _misfits(task, settings, steps):
        raise ConfigError(problems)
    teacher_digest(settings)
    teacher = _teacher(task, config, settings)
    student: nn.Module | None = None
    if settings.student == "pruned":
        student = _pruned(task, config, teacher, steps)

    def make() -> nn.Module:
        return task.student_network() if student is None else copy.deepcopy(student)

    return TaughtTask(task, make, FrozenTeacher(teacher), settings.temperature, settings.weight)


def about_model(config: Config, module: nn.Module) -> dict[str, str]:
    """Return what is written into the file of a run's global model: what it is, and how to rebuild it.

    ``mode`` is the privacy mode, which says whether the model may teach others under one. Where the clients trained a
    student, ``widths`` are the sizes of its layers as JSON (``fedcomp.shrink.widths``), and ``origin`` says of what:
    of the task's ``model`` made smaller, or of its ``student``.
    """
    if config.teacher is None:
        return {"task": config.task, "role": "global", "mode": config.privacy.mode}
    origin = "student" if config.teacher.student == "task" else "model"
    return {**_about(config, "global", bare(module), origin), "teacher": config.teacher.sha256 or ""}


def about_small(config: Config, module: nn.Module, origin: str) -> dict[str, str]:
    """Return what is written into the file of a small model that was exported from a run; see ``about_model``.

    ``origin`` is what it was made of: the task's ``model`` or its ``student``.
    """
    return _about(config, "small", module, origin)


def remark(config: Config) -> str:
    """Return what has to be said after the epsilon of a run whose teacher came from another one, or nothing."""
    if config.teacher is None or config.teacher.source == "public":
        return ""
    return (
        ". This is the cost of this run alone: the student gives away what its teacher does, whose run is charged in "
        f"an account of its own (model file {(config.teacher.sha256 or '')[:16]}), and both add up"
    )


def _about(config: Config, role: str, module: nn.Module, origin: str) -> dict[str, str]:
    widths = json.dumps(widths_of(module), sort_keys=True)
    return {"task": config.task, "role": role, "mode": config.privacy.mode, "origin": origin, "widths": widths}


def _find(config: TeacherConfig) -> Path:
    places = [Path(config.model)]
    if config.sha256 is not None:
        places.append(cache_directory() / "models" / f"{config.sha256}.safetensors")
    for place in places:
        if place.is_file():
            return place
    looked = " or ".join(map(str, places))
    raise ConfigError([f"teacher.model: expected the model's file at {looked}, which every client needs; found none"])


def _steps(settings: TeacherConfig) -> list[Step]:
    found = []
    for number, spec in enumerate(settings.steps):
        try:
            found.append(step_from_config(spec))
        except ConfigError as error:
            raise ConfigError([f"teacher.steps[{number}]: {problem}" for problem in error.problems]) from error
    return found


def _misfits(task: Task, settings: TeacherConfig, steps: list[Step]) -> list[str]:
    found = [
        f"teacher.steps[{number}]: expected a step that reads no rows, since what it computes is to be the same on the "
        f"server and on every client, got {step.id!r}"
        for number, step in enumerate(steps)
        if step.reads
    ]
    if settings.student == "pruned" and not steps:
        found.append("teacher.steps: expected at least one step that makes the model smaller, got none")
    if settings.student == "task" and steps:
        found.append(f"teacher.steps: expected none with student = 'task', got {len(steps)}")
    if settings.student == "task" and task.train().raw is not task.train().inputs:
        found.append(
            "teacher.student: expected 'pruned', since the task's student eats raw rows and its model features of them"
        )
    return found


def _teacher(task: Task, config: Config, settings: TeacherConfig) -> nn.Module:
    try:
        arrays, about = load_arrays(_find(settings))
        model = _architecture(task, about)
        set_arrays(model, arrays)
    except FedcompError as error:
        raise ConfigError([f"teacher.model: {error}"]) from error
    claimed = about.get("mode", "none")
    if config.privacy.mode != "none" and settings.source == "run" and claimed == "none":
        problem = (
            f"teacher.model: expected the model of a run with a privacy claim under mode {config.privacy.mode}, "
            "because a student gives away what its teacher does, got one of mode none, or whose file does not say "
            "(set teacher.source = 'public' if it was made from public data alone)"
        )
        raise ConfigError([problem])
    return model.eval()


def _architecture(task: Task, about: Mapping[str, str]) -> nn.Module:
    """Return the module that a model file is about: the task's model, or what an earlier run has made of it."""
    module = task.student(0) if about.get("origin") == "student" else task.model(0)
    if "widths" not in about:
        return module
    try:
        widths = json.loads(about["widths"])
    except ValueError as error:
        raise ShrinkError(f"widths: expected JSON, got {about['widths'][:100]!r}") from error
    return resized(module, widths)


def _pruned(task: Task, config: Config, teacher: nn.Module, steps: list[Step]) -> nn.Module:
    like = task.train().inputs
    # what the steps get to see of the data is the shape of a row
    row = np.zeros((1, *like.shape[1:]), like.dtype)
    material = Material(row, None, "synthetic", task.loss)
    try:
        made = shrink(teacher, steps, material, stream(config.seed, "teacher"), private=config.privacy.mode != "none")
    except (ShrinkError, ValueError) as error:
        raise ConfigError([f"teacher.steps: {error}"]) from error
    return made.module
