"""The error that every format is measured by: known answers, at a batch and at one row."""

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.runtimes.base import ExportError, relative_error

ROWS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)


def test_a_program_that_is_one_percent_off():
    assert relative_error(nn.Identity(), lambda rows: rows * np.float32(1.01), ROWS) == pytest.approx(0.01, rel=1e-4)
    assert relative_error(nn.Identity(), lambda rows: rows, ROWS) == 0.0


def test_a_program_that_is_wrong_for_one_row_alone():
    assert relative_error(nn.Identity(), lambda rows: rows * 2 if len(rows) == 1 else rows, ROWS) == pytest.approx(1.0)


def test_the_module_is_run_in_eval_mode_and_left_as_it_came():
    module = nn.Dropout(0.9)
    assert relative_error(module, lambda rows: rows, ROWS) == 0.0
    assert module.training


def test_tokens_stay_whole_numbers():
    module = nn.Embedding(5, 3)
    table = module.weight.detach().numpy()
    assert relative_error(module, lambda rows: table[rows], np.array([[0, 4], [1, 1]])) == 0.0


def test_another_shape_is_refused():
    with pytest.raises(ExportError, match=r"must return \[6, 4\], got \[6, 2\]"):
        relative_error(nn.Identity(), lambda rows: rows[:, :2], ROWS)


def test_outputs_that_are_no_numbers_are_no_small_error():
    assert not relative_error(nn.Identity(), lambda rows: rows * np.nan, ROWS) <= 1e3
    assert torch.isfinite(torch.from_numpy(ROWS)).all()
