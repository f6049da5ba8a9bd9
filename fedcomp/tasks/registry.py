"""Tasks by name: the registered ones, and a user's own as ``module:function``."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

from fedcomp.errors import ConfigError
from fedcomp.tasks.base import Task
from fedcomp.tasks.digits import digits
from fedcomp.tasks.fashion_mnist import FashionMnist


def _later(module: str, name: str, *arguments: str) -> Callable[[bool], Task]:
    """Return what makes a task with ``name`` of ``fedcomp.tasks.module``, imported only when it is asked for."""

    def make(download: bool) -> Task:
        task: Task = getattr(importlib.import_module(f"fedcomp.tasks.{module}"), name)(*arguments, download)
        return task

    return make


TASKS: dict[str, Callable[[bool], Task]] = {
    "digits": lambda _download: digits(),
    "fashion-mnist-cnn": lambda download: FashionMnist("cnn", download),
    "fashion-mnist-mobilenet": _later("fashion_mobile", "FashionMobile", "mobilenet"),
    "fashion-mnist-pooled": lambda download: FashionMnist("pooled", download),
    "fashion-mnist-resnet": _later("fashion_mobile", "FashionMobile", "resnet"),
    "fashion-mnist-scattering": lambda download: FashionMnist("linear", download),
    "health-sensors": _later("sensors", "watch_exercises"),
    "medical-nodules": _later("medical", "LungNodules"),
    "risk-credit": _later("risk", "credit"),
    "risk-loans": _later("risk", "loans"),
    "speech-initials-gru": _later("speech", "Speech", "initial", "gru"),
    "speech-tones-ds-cnn": _later("speech", "Speech", "tone", "ds-cnn"),
    "speech-tones-linear": _later("speech", "Speech", "tone", "linear"),
    "translation": _later("translation", "Translation", "bible"),
    "translation-short": _later("translation", "Translation", "programs"),
    "typefaces": _later("glyphs", "Typefaces"),
}
"""Registered name to a function that makes the task; its argument says whether missing data may be downloaded."""


def load_task(name: str, download: bool = False) -> Task:
    """Return a registered task, or what ``function()`` of ``module:function`` returns.

    The module is imported with the current directory on the path. ``download`` lets a registered task fill the user's
    cache with data that is nowhere on this machine.

    Raises:
        ConfigError: for an unknown name, a module that cannot be imported, or a function that does not return a task.
        DataError: if the task's data is missing, with the command that brings it.
    """
    if name in TASKS:
        return TASKS[name](download)
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise _refusal(f"expected one of {', '.join(sorted(TASKS))}, or module:function, got {name!r}")
    function = getattr(_import(module_name), function_name, None)
    if not callable(function):
        raise _refusal(f"expected a function {function_name!r} in module {module_name!r}, got {function!r}")
    task = function()
    if not isinstance(task, Task):
        raise _refusal(f"expected {name} to return a fedcomp.tasks.Task, got {type(task).__name__}")
    return task


def _import(name: str) -> object:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise _refusal(f"expected a module {name!r} that can be imported from {here}, got: {error}") from error
    finally:
        if added:
            sys.path.remove(here)


def _refusal(problem: str) -> ConfigError:
    return ConfigError([f"task: {problem}"])
