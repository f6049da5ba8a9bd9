"""The client of examples/edge: runs without fedcomp and torch, and refuses a file that its manifest does not name."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import embedding, normal, perceptron

from fedcomp.runtimes.onnx_session import onnx_program

CLIENT = Path(__file__).parents[2] / "examples" / "edge" / "client.py"
_ALONE = """
import runpy, sys
for name in ("fedcomp", "torch", "onnx"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
loaded = [name for name, module in sys.modules.items() if module is not None]
assert not {name.split(".")[0] for name in loaded} & {"fedcomp", "torch", "onnx"}
print("alone")
"""


def run(folder: Path, content: bytes, rows: np.ndarray, digest: str | None = None) -> subprocess.CompletedProcess[str]:
    model, manifest, inputs = folder / "model.onnx", folder / "manifest.json", folder / "input.npy"
    model.write_bytes(content)
    manifest.write_text(json.dumps({"sha256": digest or hashlib.sha256(content).hexdigest()}))
    np.save(inputs, rows)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    whole = [sys.executable, "-c", _ALONE, CLIENT, model, manifest, inputs]
    return subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True)


def test_it_prints_classes_and_milliseconds_without_fedcomp_and_torch(tmp_path):
    rows = normal(0, 3, 8)
    done = run(tmp_path, perceptron(), rows)
    assert done.returncode == 0, done.stderr
    first, second, last = done.stdout.splitlines()
    assert first.split()[1:] == [str(each) for each in onnx_program(perceptron())(rows).argmax(axis=1)]
    assert "ms for 3 row(s)" in second
    assert last == "alone"


@pytest.mark.parametrize(("content", "row"), [(perceptron(), normal(1, 8)), (embedding(), np.arange(5))])
def test_one_row_without_a_batch(tmp_path, content, row):
    done = run(tmp_path, content, row)
    assert "1 row(s)" in done.stdout, done.stderr


def test_another_file_is_refused(tmp_path):
    done = run(tmp_path, perceptron(), normal(0, 3, 8), "0" * 64)
    assert done.returncode == 1
    assert "expected SHA-256 0000" in done.stderr


def test_the_client_stays_forty_lines_of_numpy_and_onnxruntime():
    lines = CLIENT.read_text().splitlines()
    assert len(lines) <= 42
    imports = {line.split()[1] for line in lines if line.startswith(("import ", "from "))}
    assert imports <= {*sys.stdlib_module_names, "numpy", "onnxruntime"}
