import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedcomp.tasks.ranking import RankedTask, margin_auc, roc_auc

ROWS = st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30).filter(
    lambda rows: len({target for _, target in rows}) == 2
)


def split(rows):
    scores, targets = zip(*rows, strict=True)
    return np.array(scores, dtype=np.float64), np.array(targets, dtype=np.int64)


@given(ROWS)
def test_it_is_the_share_of_pairs_in_the_right_order(rows):
    scores, targets = split(rows)
    ones, zeros = scores[targets == 1], scores[targets == 0]
    won = (ones[:, None] > zeros).mean() + (ones[:, None] == zeros).mean() / 2
    assert roc_auc(scores, targets) == pytest.approx(won)


@given(ROWS)
def test_it_knows_order_alone_and_turns_with_it(rows):
    scores, targets = split(rows)
    assert roc_auc(np.exp(scores), targets) == pytest.approx(roc_auc(scores, targets))
    assert roc_auc(-scores, targets) == pytest.approx(1 - roc_auc(scores, targets))


def test_logits_are_ranked_by_how_far_the_second_is_above_the_first():
    logits = torch.tensor([[5.0, 1.0], [0.0, 1.0], [9.0, 8.0], [0.0, 3.0]])
    assert margin_auc(logits, torch.tensor([0, 0, 1, 1])) == 0.75


def test_a_ranked_task_has_an_area_beside_its_accuracy():
    rows = np.eye(2, dtype=np.float32), np.array([0, 1])
    task = RankedTask("two", 2, rows, rows, make_model=lambda: nn.Linear(2, 2))
    outputs = torch.tensor([[0.0, 1.0], [0.0, 2.0]])
    assert task.auc(outputs, torch.tensor([0, 1])) == 1.0
    assert task.metric(outputs, torch.tensor([0, 1])) == 0.5


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        ([1.0, 2.0], [0], r"expected scores \[n\] and targets \[n\], got \[2\] and \[1\]"),
        ([[1.0], [2.0]], [[0], [1]], r"got \[2, 1\]"),
        ([1.0, float("nan")], [0, 1], "scores must be numbers, got NaN"),
        ([1.0, 2.0], [1, 1], r"targets must be 0 and 1 and both present, got \[1\]"),
        ([1.0, 2.0, 3.0], [0, 1, 2], r"got \[0, 1, 2\]"),
    ],
)
def test_what_cannot_be_ranked_is_refused(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        roc_auc(np.array(scores), np.array(targets))
