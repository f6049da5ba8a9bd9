"""The training loop of distillations."""

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation.schedule import Descent, descend


def test_an_epoch_shows_each_row_once_in_a_version_drawn_at_random():
    weight, seen, versions = nn.Parameter(torch.ones(1)), [], set()

    def loss(chosen: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        seen.append(rows.tolist())
        versions.update(chosen.tolist())
        return weight.sum()

    descend([weight], loss, Descent(3, 4, 0.1), np.random.default_rng(0), rows=10, versions=3)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 3
    epochs = [[row for batch in seen[start : start + 3] for row in batch] for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert versions == {0, 1, 2}


def test_the_rate_falls_to_zero_along_a_cosine():
    weight, path = nn.Parameter(torch.zeros(1)), []
    descend(
        [weight],
        lambda _, rows: weight.sum(),
        Descent(1, 1, 0.1, weight_decay=0.0),
        np.random.default_rng(0),
        rows=40,
        after_step=lambda: path.append(weight.item()),
    )
    moved = -np.diff([0.0, *path])  # a constant gradient makes each of Adam's steps as long as the rate
    np.testing.assert_allclose(moved, 0.05 * (1 + np.cos(np.pi * np.arange(40) / 40)), rtol=1e-3, atol=1e-6)


def test_a_loss_that_is_not_finite_ends_it():
    weight = nn.Parameter(torch.zeros(1))
    with pytest.raises(ShrinkError, match=r"step 0: expected a finite loss, got nan; learning_rate 0.1 may be too"):
        descend([weight], lambda _, rows: weight.sum() * np.nan, Descent(1, 1, 0.1), np.random.default_rng(0), rows=3)
