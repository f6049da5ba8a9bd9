"""Runtimes by name: every one in the folder is there, the core one first."""

import importlib
import pkgutil

import pytest

import fedcomp.runtimes
from fedcomp.errors import ConfigError
from fedcomp.runtimes.base import Runtime
from fedcomp.runtimes.registry import RUNTIMES, runtime


def leaves(kind: type) -> list[type]:
    below = [leaf for each in kind.__subclasses__() for leaf in leaves(each)]
    return below or [kind]


def test_no_runtime_is_forgotten():
    for found in pkgutil.iter_modules(fedcomp.runtimes.__path__):
        importlib.import_module(f"fedcomp.runtimes.{found.name}")
    ours = {leaf for leaf in leaves(Runtime) if leaf.__module__.startswith("fedcomp.")}
    assert {type(one) for one in RUNTIMES.values()} == ours
    assert next(iter(RUNTIMES)) == "onnxruntime"


def test_by_name():
    assert runtime("executorch") is RUNTIMES["executorch"]
    with pytest.raises(ConfigError, match="runtime: expected one of onnxruntime, executorch, openvino, got 'tvm'"):
        runtime("tvm")
