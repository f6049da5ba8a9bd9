import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.tasks import ArrayTask, Split


def rows(count=6, classes=3):
    return np.arange(count * 2).reshape(count, 2), np.arange(count) % classes


def task(**changes):
    fields = {
        "name": "t",
        "num_classes": 3,
        "training": rows(),
        "testing": rows(),
        "make_model": lambda: nn.Linear(2, 3),
    }
    return ArrayTask(**(fields | changes))


def test_raw_is_inputs_without_a_transform_and_stays_so_when_rows_are_taken():
    split = task().train()
    assert split.raw is split.inputs
    taken = split.take(np.array([1]))
    assert taken.raw is taken.inputs


def test_taken_rows_are_a_copy():
    split = task().train()
    taken = split.take(np.array([0, 1]))
    taken.inputs[:] = -1
    assert split.inputs.min() >= 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ((np.zeros((2, 1)), np.zeros(2, np.int64)), "inputs must be float32, float16 or int64, got float64"),
        ((np.zeros((3, 1), np.float32), np.zeros(2, np.int64)), "inputs must have a row for each of 2 targets, got 3"),
        ((np.zeros((2, 1), np.float32), np.zeros(2, np.int32)), r"targets must be int64\[n, \.\.\.\], got int32\[2\]"),
    ],
)
def test_a_split_refuses_other_arrays(fields, message):
    with pytest.raises(ValueError, match=message):
        Split(*fields, raw=fields[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": (np.zeros((2, 1)), np.array([0, 3]))}, r"training targets must be in 0\.\.2, got 0\.\.3"),
        ({"testing": (np.zeros((2, 1)), np.array([0.0, 1.0]))}, "testing targets must be whole numbers"),
        ({"testing": (np.zeros((0, 1)), np.zeros(0, int))}, "testing targets must be whole numbers"),
        ({"training": (np.array([[np.nan]]), np.array([0]))}, "training inputs must be finite"),
        ({"natural_clients": np.arange(5)}, "natural_clients must have a value for each of 6 training rows, got 5"),
    ],
)
def test_a_task_refuses_rows_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        task(**changes)


def test_natural_clients_are_numbered_in_sorted_order():
    assert task().groups() is None
    named = task(natural_clients=np.array(list("bbacca")))
    assert named.groups().tolist() == [1, 1, 0, 2, 2, 0]


def test_loss_is_cross_entropy_of_each_example():
    outputs = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    loss = task().loss(outputs, torch.tensor([0, 2]))
    expected = [-np.log(np.exp(2) / (np.exp(2) + 1 + np.e)), np.log(3)]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float32))


def test_the_student_is_the_model_unless_it_is_given():
    assert isinstance(task().student(0), nn.Linear)
    small = task(make_student=lambda: nn.Sequential(nn.Linear(2, 3)))
    assert isinstance(small.student(0), nn.Sequential)


def test_two_seeds_give_two_models():
    assert not torch.equal(task().model(0).weight, task().model(1).weight)


def test_dataset_id_changes_with_a_single_value():
    inputs, targets = rows()
    changed = inputs.copy()
    changed[0, 0] += 1
    relabelled = np.roll(targets, 1)
    ids = {
        task(training=training).dataset_id()
        for training in [(inputs, targets), (changed, targets), (inputs, relabelled)]
    }
    assert len(ids) == 3
