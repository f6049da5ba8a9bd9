"""What is particular to ExecuTorch; ``tests/contracts/test_runtimes.py`` has the rest."""

import gc

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.runtimes.base import ExportError, relative_error
from fedcomp.runtimes.executorch import ExecuTorch

ENGINE = ExecuTorch()
ROWS = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


@pytest.fixture(autouse=True)
def _installed():
    if (command := ENGINE.missing()) is not None:
        pytest.skip(command)


def test_recurrent_layers_are_refused_at_once_and_named():
    module = nn.Sequential(nn.Linear(8, 4), nn.GRU(4, 4))
    with pytest.raises(ExportError, match="no kernels for recurrent layers, got 1"):
        ENGINE.build(module, ROWS)


@pytest.mark.slow
def test_a_program_outlives_the_bytes_that_it_was_opened_from():
    with torch.random.fork_rng(devices=[]):
        module = nn.Linear(8, 3)
    program = ENGINE.open(bytes(bytearray(ENGINE.build(module, ROWS))))
    gc.collect()
    _ = [bytes(1000) for _ in range(1000)]
    assert relative_error(module, program, ROWS) < 1e-5


@pytest.mark.slow
def test_batches_larger_than_memory_was_planned_for_are_run_in_pieces():
    with torch.random.fork_rng(devices=[]):
        module = nn.Sequential(nn.Linear(8, 3), nn.ReLU())
    program = ENGINE.open(ENGINE.build(module, ROWS))
    rows = np.random.default_rng(1).standard_normal((2500, 8)).astype(np.float32)
    assert relative_error(module, program, rows) < 1e-5


@pytest.mark.slow
def test_a_model_that_cannot_be_exported():
    class Deciding(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return rows if rows.sum().item() > 0 else -rows

    with pytest.raises(ExportError, match="ExecuTorch cannot export the model"):
        ENGINE.build(Deciding(), ROWS)


def test_one_row_is_too_few():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        ENGINE.build(nn.Linear(8, 3), ROWS[:1])
