"""Handwritten digits that ship inside scikit-learn, for tests and for where nothing else is to be had."""

from functools import cache

import numpy as np
from torch import nn

from fedcomp.rng import stream
from fedcomp.tasks.base import ArrayTask, Task

_TEST_ROWS = 360


@cache
def digits() -> Task:
    """Return the task: 1,437 training and 360 test images, as rows ``[64]`` in [-1, 1], and an MLP of 2,410 parameters.

    Source: E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI (1998), the test part.
    """
    from sklearn.datasets import load_digits  # slow to import, and only this task needs it

    images, targets = load_digits(return_X_y=True)
    inputs = np.asarray(images / 8.0 - 1.0, dtype=np.float32)
    order = stream(0, "digits", "split").permutation(len(inputs))
    test, train = order[:_TEST_ROWS], order[_TEST_ROWS:]
    return ArrayTask(
        name="digits",
        num_classes=10,
        training=(inputs[train], targets[train]),
        testing=(inputs[test], targets[test]),
        make_model=lambda: _perceptron(32),
        make_student=lambda: _perceptron(16),
    )


def _perceptron(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))
