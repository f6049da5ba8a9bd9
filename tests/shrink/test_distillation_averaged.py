"""Mean answers of models that are asked one after the other, and students trained towards them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from distillation_kit import agreement, material, perceptron, seeded, sharp, vectors
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.distillation.averaged import AnswerSum, answers_of, imitate
from fedcomp.shrink.distillation.ensemble import EnsembleTeacher
from fedcomp.shrink.distillation.lesson import prepare
from fedcomp.threads import single_thread

ROWS = torch.from_numpy(vectors(600))
OPTIONS = {"steps": 40, "batch_size": 32, "learning_rate": 0.01, "temperature": 1.0}


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def lesson_of(teacher, rows=None):
    return prepare(material(teacher, rows), 1, 0, np.random.default_rng(0))


def summed(models):
    total = AnswerSum(np.zeros((600, 3), np.int64))
    for model in models:
        total = total.plus(answers_of(model, ROWS))
    return total


def test_the_mean_is_what_an_ensemble_answers_and_does_not_depend_on_the_order():
    models = [sharp(perceptron(8, seed=seed)) for seed in range(5)]
    mean = summed(models).mean()
    torch.testing.assert_close(mean, EnsembleTeacher(models, "none")(ROWS), rtol=1e-5, atol=1e-6)
    assert torch.equal(mean, summed(models[::-1]).mean())
    assert not torch.equal(mean, summed(models[:4]).mean())


def test_a_mean_of_nobody_is_refused():
    with pytest.raises(ShrinkError, match="answers of at least 1 client model, got none"):
        summed([]).mean()


def test_models_are_asked_without_dropout():
    model = nn.Sequential(nn.Linear(8, 3), nn.Dropout(0.5)).train()
    assert np.array_equal(answers_of(model, ROWS), answers_of(model.train(), ROWS))


class Constant(nn.Module):
    def __init__(self, *shape, value=0.0):
        super().__init__()
        self._shape, self._value = shape, value

    def forward(self, rows):
        return torch.full((len(rows), *self._shape), self._value)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Constant(3, value=float("nan")), "finite logits of at most 65536"),
        (Constant(3, value=float("inf")), "finite logits of at most 65536"),
        (Constant(3, value=-65537.0), "finite logits of at most 65536"),
        (Constant(), r"expected logits \[600, classes\] or \[600, length, classes\], got \[600\]"),
        (Constant(2, 2, 2), r"got \[600, 2, 2, 2\]"),
    ],
)
def test_what_are_no_logits_is_refused(model, said):
    with pytest.raises(ShrinkError, match=said):
        answers_of(model, ROWS)


def test_the_largest_logits_are_summed_without_wrapping():
    total = AnswerSum(np.zeros((1, 2), np.int64), count=2**22 - 1)
    total.totals[:] = (2**22 - 1) * 2**40
    assert total.plus(np.full((1, 2), 2.0**16, np.float32)).mean().tolist() == [[2.0**16, 2.0**16]]


def test_a_student_comes_nearer_to_its_lesson_and_answers_like_it():
    teacher, student = sharp(perceptron(32, seed=1)), perceptron(32, seed=2)
    strangers = agreement(student, teacher)
    before, after = imitate(student, lesson_of(teacher), **OPTIONS | {"steps": 200}, rng=np.random.default_rng(0))
    assert after < before / 4
    assert agreement(student, teacher) > 0.8 > strangers + 0.3
    assert not student.training


def test_a_student_of_its_own_answers_has_no_loss_and_hardly_moves():
    teacher = sharp(perceptron(8))
    student = sharp(perceptron(8))
    before, _ = imitate(student, lesson_of(teacher), **OPTIONS | {"learning_rate": 1e-9}, rng=np.random.default_rng(0))
    assert before == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(student[0].weight, teacher[0].weight)


def test_the_same_stream_gives_the_same_student_and_leaves_torchs_alone():
    students = [seeded(lambda: nn.Sequential(nn.Linear(8, 9), nn.Dropout(0.5), nn.Linear(9, 3))) for _ in range(3)]
    lesson, state = lesson_of(sharp(perceptron(8))), torch.get_rng_state()
    for student, seed in zip(students, (0, 0, 1), strict=True):
        imitate(student, lesson, **OPTIONS, rng=np.random.default_rng(seed))
    first, again, other = (student[0].weight for student in students)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_so_many_steps_are_taken_and_every_row_is_seen_as_often_as_others_but_once():
    seen = []
    lesson = lesson_of(sharp(perceptron(8)), vectors(50))

    def answers(chosen, rows):
        seen.append(rows)
        return lesson.answers(chosen, rows)

    imitate(perceptron(8), replace(lesson, answers=answers), **OPTIONS | {"steps": 7}, rng=np.random.default_rng(0))
    batches = seen[1:-1]  # the first and the last are the loss on all rows
    assert [len(rows) for rows in batches] == [32] * 7
    counts = torch.bincount(torch.cat(batches), minlength=50)
    assert set(counts.tolist()) == {4, 5}


def token_model(seed):
    return seeded(lambda: nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8)), seed)


def test_padding_counts_for_nothing():
    tokens = np.array([[3, 4, 0, 0], [5, 6, 7, 0]] * 40, np.int64)
    lesson = lesson_of(token_model(1), tokens)
    right = torch.from_numpy(answers_of(token_model(1), lesson.versions[0]))
    padded = lesson.versions[0].unsqueeze(-1) == 0
    losses = []
    for place in (torch.zeros_like(padded), padded, ~padded):
        answers = torch.where(place, right + 5 * torch.arange(8.0), right)
        changed = replace(lesson, answers=lambda _, rows, answers=answers: answers[rows])
        losses.append(imitate(token_model(2), changed, **OPTIONS, rng=np.random.default_rng(0)))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_training_that_diverges_is_refused():
    with pytest.raises(ShrinkError, match="expected a finite loss"):
        imitate(
            perceptron(8),
            lesson_of(sharp(perceptron(8))),
            **OPTIONS | {"learning_rate": 1e30},
            rng=np.random.default_rng(0),
        )
