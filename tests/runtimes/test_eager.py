"""PyTorch as it is: the module's own answers."""

import numpy as np
import pytest
from torch import nn

from fedcomp.runtimes.base import relative_error
from fedcomp.runtimes.eager import eager_program


def test_answers_are_the_modules_own():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(0.5)).eval()
    rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    answers = eager_program(module)(rows)
    assert isinstance(answers, np.ndarray)
    assert relative_error(module, eager_program(module), rows) == 0.0


def test_a_module_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="module must be in eval mode"):
        eager_program(nn.Linear(1, 1))
