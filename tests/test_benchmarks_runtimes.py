"""The benchmark of runtimes: a whole table of a small model, by a clock that does not run."""

import pytest
from torch import nn

pytest.importorskip("onnxruntime")

from benchmarks import runtimes
from benchmarks.runtimes import Case, lively, measure, table


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


def test_every_format_has_a_row_and_what_cannot_be_built_a_note(monkeypatch):
    monkeypatch.setattr(runtimes, "CASES", {"tiny": Case(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU()), (4,))})
    monkeypatch.setattr(runtimes, "RUNTIMES", {"onnxruntime": runtimes.RUNTIMES["onnxruntime"]})
    notes: list[str] = []
    rows = {row.program: row for row in measure("tiny", 1, 7, Clock(), notes)}
    assert notes == []
    assert set(rows) == {"eager fp32", *(f"onnxruntime {each}" for each in runtimes.RUNTIMES["onnxruntime"].formats)}
    assert rows["onnxruntime fp32"].ratio == pytest.approx(1)
    assert rows["eager fp32"].bytes is None
    assert rows["onnxruntime int8-static"].error > rows["onnxruntime fp32"].error
    lines = table(list(rows.values()))
    assert lines[0].startswith("tiny, batch 1")
    assert len(lines) == len(rows) + 1


def test_no_layer_is_left_at_zero():
    def zeros() -> nn.Module:
        layer = nn.Linear(3, 2)
        nn.init.zeros_(layer.weight)
        return layer

    module = lively(zeros)
    assert module.weight.any()
    assert not module.training
