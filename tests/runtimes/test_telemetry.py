"""Nothing reports: checked in a process apart, by a check that is itself shown to find a reporter."""

import ast
import sys
import types
from pathlib import Path

import pytest
from telemetry_check import HOST, faults, knows_host

from fedcomp.runtimes import telemetry
from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.telemetry import missing_onnx_runtime, onnxruntime_module

LIBRARY = Path(telemetry.__file__).parents[1]
_REPORTER = """
import os, pathlib, socket
__version__ = "1.32.0"
if os.environ.get("ORT_DISABLE_TELEMETRY") != "1" and "CI" not in os.environ:
    place = pathlib.Path.home() / ".cache" / "device-id"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("you")
    kept = socket.socket()
"""


@pytest.fixture
def reporter(tmp_path) -> Path:
    """A folder with a package that does what versions from 1.29 on do: it keeps a device number and opens a line."""
    package = tmp_path / "packages" / "onnxruntime"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(_REPORTER)
    (package / "library.so.1").write_bytes(b"\0https://mobile." + HOST + b"\0")
    return package.parent


def test_building_and_running_a_model_leaves_no_trace(tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    code = """
import numpy as np, torch
from fedcomp.runtimes.onnx_runtime import OnnxRuntime
engine = OnnxRuntime()
rows = np.ones((2, 3), np.float32)
assert engine.open(engine.build(torch.nn.Linear(3, 2), rows, "int8-static"))(rows).shape == (2, 2)
"""
    assert faults(code, tmp_path / "home") == []


def test_the_check_finds_a_reporter(tmp_path, reporter):
    found = faults("import onnxruntime", tmp_path / "home", reporter)
    assert found[0] == "file HOME/.cache/device-id"
    assert found[1].startswith("open socket:")
    assert found[2] == "imported a package that knows the host, without the switch"


def test_the_check_finds_a_switch_that_is_set_too_late(tmp_path, reporter):
    code = "import onnxruntime, os\nos.environ['ORT_DISABLE_TELEMETRY'] = '1'"
    assert len(faults(code, tmp_path / "home", reporter)) == 3


def test_the_check_finds_that_nothing_was_tested(tmp_path, reporter):
    assert faults("", tmp_path / "home", reporter) == ["onnxruntime was never imported: nothing was tested"]


def test_our_door_keeps_even_a_reporter_still(tmp_path, reporter):
    code = "from fedcomp.runtimes.telemetry import onnxruntime_module\nonnxruntime_module()"
    assert faults(code, tmp_path / "home", reporter) == []


def test_the_installed_version_does_not_know_the_host():
    package = pytest.importorskip("onnxruntime").__path__[0]
    assert not knows_host(Path(package))


def test_nobody_else_imports_it():
    importers = set()
    for path in LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "onnxruntime" for name in names):
                importers.add(path.name)
    assert importers == {"telemetry.py"}


@pytest.mark.parametrize(
    ("version", "switch", "refused"), [("1.29.0", None, True), ("1.28.0", None, False), ("2.0", "1", False)]
)
def test_a_reporting_version_that_somebody_else_imported_is_refused(monkeypatch, version, switch, refused):
    stranger = types.ModuleType("onnxruntime")
    stranger.__version__ = version
    monkeypatch.setitem(sys.modules, "onnxruntime", stranger)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if switch:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", switch)
    if refused:
        with pytest.raises(ExportError, match=rf"ONNX Runtime {version} to be imported with ORT_DISABLE_TELEMETRY=1"):
            onnxruntime_module()
    else:
        assert onnxruntime_module() is stranger


def test_missing_packages_are_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert missing_onnx_runtime() == "pip install 'fedcomp[edge]'"
    with pytest.raises(ExportError, match=r"pip install 'fedcomp\[edge\]'"):
        onnxruntime_module()
