"""Hints from hidden layers."""

import numpy as np
import pytest
import torch
from distillation_kit import perceptron, seeded, vectors
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation.features import Hints, hidden_layers, watched
from fedcomp.threads import single_thread

ROWS = torch.from_numpy(vectors(20))


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def hints(student: nn.Module, teacher: nn.Module, layers=(), rows: torch.Tensor = ROWS) -> Hints:
    return Hints(student, teacher, layers, rows[:1], np.random.default_rng(0))


def test_a_model_is_not_apart_from_itself_and_needs_no_map():
    module = perceptron(6)
    found = hints(module, module)
    outputs, answers, apart = found(ROWS)
    assert torch.equal(outputs, answers)
    assert (found.parameters(), apart.item()) == ([], 0.0)


def test_features_of_zero_are_at_a_distance_of_one_whatever_the_scale():
    teacher, silent = perceptron(6), perceptron(6)
    for scale in (1.0, 100.0):
        with torch.no_grad():
            teacher[0].weight.mul_(scale)
            silent[0].weight.zero_()
            silent[0].bias.zero_()
        assert hints(silent, teacher)(ROWS)[2].item() == pytest.approx(1.0)


def test_a_linear_map_is_learnt_where_widths_differ():
    student, teacher = perceptron(9, seed=2), perceptron(4, seed=1)
    found = hints(student, teacher, ["0"])
    (weight,) = found.parameters()
    assert weight.shape == (4, 9)
    optimizer = torch.optim.Adam([weight, *student.parameters()], lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        found(ROWS)[2].backward()
        optimizer.step()
    assert found(ROWS)[2] < 0.01
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda width: nn.Sequential(nn.Conv2d(2, width, 3), nn.Flatten(), nn.Linear(9 * width, 2)), (3, 2, 5, 5)),
        (lambda width: nn.Sequential(nn.Conv1d(2, width, 3), nn.Flatten(), nn.Linear(3 * width, 2)), (3, 2, 5)),
        (lambda width: nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2)), (3, 5, 2)),
    ],
)
def test_the_width_is_the_channels_of_maps_and_the_last_axis_of_sequences(make, rows):
    found = hints(seeded(lambda: make(3)), seeded(lambda: make(7)), ["0"], torch.ones(rows))
    assert [tuple(weight.shape) for weight in found.parameters()] == [(7, 3)]
    assert torch.isfinite(found(torch.ones(rows))[2])


def test_the_outputs_of_a_recurrent_layer_are_its_features():
    module = nn.Sequential(nn.GRU(2, 4, batch_first=True))
    with watched(module, ["0"]) as seen:
        outputs, _ = module(torch.ones(3, 5, 2))
    assert seen["0"] is outputs


def test_layers_of_other_names_are_paired_and_hooks_are_gone_afterwards():
    student, teacher = perceptron(6), nn.Sequential(nn.Identity(), *perceptron(6))
    assert hints(student, teacher, ["0=1"])(ROWS)[2].item() == 0.0
    assert not any(layer._forward_hooks for module in (student, teacher) for layer in module.modules())


def test_hidden_layers_are_those_with_weights_but_the_last():
    assert hidden_layers(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Sequential(nn.Linear(1, 1)), nn.Linear(1, 1)))
    assert hidden_layers(perceptron(3)) == ["0"]


class Skipping(nn.Sequential):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self[2](rows[:, :6])


@pytest.mark.parametrize(
    ("student", "layers", "words"),
    [
        (perceptron(6), ["gone"], "expected names of layers such as 0, got 'gone'"),
        (Skipping(*perceptron(6)), ["0"], "layer 0: expected a layer that rows pass through"),
        (nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Linear(4, 6)), ["1=0"], r"got \[1, 2, 6\] and the teacher's \[1, 6"),
        (nn.Sequential(nn.Linear(8, 3)), [], "a hidden layer of one name in student and teacher, got none"),
    ],
)
def test_layers_that_cannot_be_compared_are_refused(student, layers, words):
    with pytest.raises(ShrinkError, match=words):
        hints(student, perceptron(6), layers)
