"""Rows made up against a teacher."""

from functools import cache

import numpy as np
import pytest
import torch
from distillation_kit import cross_entropy, perceptron, seeded, sharp
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError, shrink
from fedcomp.shrink.distillation import Distil
from fedcomp.shrink.synthetic import Inversion, made_up, optimised, structured_noise
from fedcomp.tasks.digits import digits
from fedcomp.threads import single_thread
from fedcomp.training import train_plain


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def made(teacher: nn.Module, count: int = 30, seed: int = 0, **options) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return optimised(teacher, structured_noise((8,), count, rng), Inversion(**options), rng)


def answers(teacher: nn.Module, rows: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return teacher(torch.from_numpy(rows)).softmax(1)


@pytest.mark.parametrize("shape", [(8,), (3, 20), (2, 9, 7)])
def test_noise_is_within_its_range_smooth_and_every_row_another(shape):
    rows = structured_noise(shape, 50, np.random.default_rng(0), low=0.0, high=2.0)
    assert rows.shape == (50, *shape)
    assert rows.dtype == np.float32
    assert 0 <= rows.min() < 0.5 < 1.5 < rows.max() <= 2
    assert len(np.unique(rows.reshape(50, -1), axis=0)) == 50
    neighbours, strangers = np.diff(rows, axis=-1), rows - rows[:, ..., ::-1][np.roll(np.arange(50), 1)]
    assert np.square(neighbours).mean() < 0.8 * np.square(strangers).mean()


def test_the_teacher_is_sure_of_optimised_rows_and_of_the_class_each_was_given():
    teacher = sharp(perceptron(24, seed=1))
    start = structured_noise((8,), 30, np.random.default_rng(0))
    rows, classes = made(teacher)
    assert np.bincount(classes).tolist() == [10, 10, 10]
    assert (answers(teacher, rows).argmax(1).numpy() == classes).all()
    assert answers(teacher, rows).amax(1).mean() > answers(teacher, start).amax(1).mean() + 0.1
    assert np.abs(rows).max() <= 1


def test_without_classes_rows_become_more_of_what_they_are_taken_for():
    teacher = sharp(perceptron(24, seed=1))
    start = structured_noise((8,), 30, np.random.default_rng(0))
    rows, classes = made(teacher, conditional=False, diversity_weight=0.0)
    np.testing.assert_array_equal(classes, answers(teacher, start).argmax(1))
    assert answers(teacher, rows).amax(1).mean() > answers(teacher, start).amax(1).mean() + 0.1


def test_each_prior_does_what_it_says():
    teacher = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)))
    start = structured_noise((1, 8, 8), 12, np.random.default_rng(0))

    def run(**options) -> np.ndarray:
        none = {"norm_weight": 0.0, "variation_weight": 0.0, "activation_weight": 0.0, "diversity_weight": 0.0}
        return optimised(teacher, start, Inversion(steps=60, **none | options), np.random.default_rng(0))[0]

    plain = run()
    assert np.square(run(norm_weight=10.0)).mean() < 0.5 * np.square(plain).mean()
    assert np.square(np.diff(run(variation_weight=10.0))).mean() < 0.5 * np.square(np.diff(plain)).mean()
    active, calm = (teacher[0](torch.from_numpy(rows)).abs().mean() for rows in (run(activation_weight=9.0), plain))
    assert active > 1.2 * calm
    spread, alike = (
        answers(teacher, run(conditional=False, diversity_weight=weight)).mean(0).amax() for weight in (50.0, 0.0)
    )
    assert spread < alike


def test_equal_generators_give_equal_rows_and_the_teacher_is_left_alone():
    teacher = nn.Sequential(nn.Dropout(0.5), perceptron(8)).train()
    before, state = teacher[1][0].weight.detach().clone(), torch.get_rng_state()
    first, second, third = (made(teacher, steps=3, seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)
    assert teacher.training
    assert teacher[1][0].weight.requires_grad
    assert torch.equal(teacher[1][0].weight, before)
    assert torch.equal(torch.get_rng_state(), state)


@cache
def trained_digits() -> nn.Module:
    task = digits()
    teacher, rows = task.model(0), task.train().take(np.arange(437, 1437))
    options = {"batch_size": 32, "learning_rate": 0.1, "momentum": 0.9, "local_epochs": 10}
    train_plain(teacher, rows, loss=task.loss, rng=np.random.default_rng(0), **options)
    return teacher.eval()


def test_a_student_of_made_up_rows_reads_digits_nearly_as_one_of_public_rows():
    task, teacher = digits(), trained_digits()

    def accuracy(material: Material) -> float:
        steps = [Distil(epochs=15, batch_size=64, learning_rate=1e-2)]
        shrunk = shrink(task.student(0), steps, material, np.random.default_rng(0), private=True)
        assert shrunk.steps[0][1] == material.data
        test = task.test()
        return task.metric(shrunk.module(torch.from_numpy(test.inputs)), torch.from_numpy(test.targets))

    public = task.train().take(np.arange(437)).inputs
    of_public = accuracy(Material(public, None, "public", task.loss, teacher))
    of_made_up = accuracy(made_up(teacher, (64,), 600, task.loss, np.random.default_rng(1), options=Inversion(40)))
    assert of_public > 0.88
    assert of_made_up > of_public - 0.06


class Sequences(nn.Module):
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, None, :3].expand(-1, 2, -1)


@pytest.mark.parametrize(
    ("teacher", "start", "words"),
    [
        (perceptron(4), np.ones((3, 8), np.int64), "floating point rows to optimise, got int64"),
        (Sequences(), np.ones((3, 8), np.float32), r"logits \[n, classes\], got \[3, 2, 3\]"),
    ],
)
def test_what_cannot_be_optimised_is_refused(teacher, start, words):
    with pytest.raises(ShrinkError, match=words):
        optimised(teacher, start, Inversion(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"learning_rate": -1.0}, r"learning_rate must be greater than 0 and finite, got -1.0"),
        ({"norm_weight": np.nan}, "norm_weight must be at least 0 and finite, got nan"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Inversion(**options)


def test_noise_needs_rows_and_a_range():
    for count, low in ((0, -1.0), (3, 1.0)):
        with pytest.raises(ValueError, match="expected at least 1 row and low < high"):
            structured_noise((4,), count, np.random.default_rng(0), low=low)


def test_made_up_rows_are_a_material_that_says_so():
    teacher = perceptron(4)
    material = made_up(teacher, (8,), 5, cross_entropy, np.random.default_rng(0), options=Inversion(2), low=0.0)
    assert (material.data, material.targets, material.teacher, len(material.inputs)) == ("synthetic", None, teacher, 5)
    assert material.inputs.min() >= 0
