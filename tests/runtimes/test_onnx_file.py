"""ONNX export: the file computes what PyTorch computes, at any batch size, and says nothing of who wrote it."""

import logging
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.errors import FedcompError, RunError
from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_file import export_onnx

onnxruntime = pytest.importorskip("onnxruntime")


def student() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.Linear(144, 3),
        )


ROWS = np.random.default_rng(0).standard_normal((4, 1, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    module, path = student(), tmp_path_factory.mktemp("onnx") / "student.onnx"
    return module, path, export_onnx(module, ROWS, path)


def test_outputs_match_at_other_batch_sizes(exported):
    module, path, report = exported
    assert report.bytes == path.stat().st_size
    assert 0 <= report.relative_error < 1e-5
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for count in (1, 2, 9):
        rows = np.random.default_rng(count).standard_normal((count, 1, 6, 6)).astype(np.float32)
        (found,) = session.run(["output"], {"input": rows})
        with torch.no_grad():
            expected = module.eval()(torch.from_numpy(rows)).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_no_path_of_this_machine_is_in_the_file(exported):
    content = exported[1].read_bytes()
    for path in (Path(__file__).parent, Path(torch.__file__).parent, Path.home()):
        assert str(path).encode() not in content


def test_runtime_is_one_that_does_not_report():
    assert tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < (1, 29)


def test_another_computation_is_refused_and_nothing_is_written(tmp_path):
    class Unfaithful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return self.layer(rows) * (1.0 if torch.compiler.is_compiling() else 1.5)

    rows = np.ones((4, 3), np.float32)
    with pytest.raises(ExportError, match=r"within 0.001 of PyTorch's, got 0.33"):
        export_onnx(Unfaithful(), rows, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_exported(tmp_path):
    class Deciding(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows if rows.sum().item() > 0 else -rows

    with pytest.raises(ExportError, match="PyTorch cannot export the model"):
        export_onnx(Deciding(), np.ones((2, 3), np.float32), tmp_path / "model.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_packages_are_named_with_the_command(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr("fedcomp.runtimes.onnx_file.traced", _bytes_or(missing))
    with pytest.raises(FedcompError, match=r"pip install 'fedcomp\[edge\]'"):
        export_onnx(student(), ROWS, tmp_path / "model.onnx")


def _bytes_or(missing: str):
    from fedcomp.runtimes import onnx_file

    whole = onnx_file.traced
    return (lambda *_: b"") if missing == "onnxruntime" else whole


def test_too_few_rows_and_a_path_that_cannot_be_written(tmp_path, exported, monkeypatch):
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        export_onnx(student(), ROWS[:1], tmp_path / "model.onnx")
    monkeypatch.setattr("fedcomp.runtimes.onnx_file.traced", lambda *_: exported[1].read_bytes())
    with pytest.raises(RunError, match="cannot write"):
        export_onnx(student(), ROWS, tmp_path / "missing" / "model.onnx")


def test_mode_levels_and_filters_come_back(exported):
    assert student().training
    assert logging.getLogger("torch.onnx").level != logging.CRITICAL
    with pytest.raises(UserWarning, match="still heard"):
        warnings.warn("still heard", UserWarning, stacklevel=1)
