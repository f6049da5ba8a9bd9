"""Ensembles of client models as teachers."""

import numpy as np
import pytest
import torch
from distillation_kit import agreement, material, perceptron, sharp, vectors
from torch import nn

from fedcomp.errors import ConfigError
from fedcomp.shrink.distillation import Distil
from fedcomp.shrink.distillation.ensemble import EnsembleTeacher, admit_client_models, client_models
from fedcomp.threads import single_thread

ROWS = torch.from_numpy(vectors(20))


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def test_the_teacher_answers_the_mean_of_models_of_any_shape():
    models = [perceptron(4), perceptron(9, 1), nn.Linear(8, 3)]
    teacher = EnsembleTeacher(models, "none")
    expected = sum(model(ROWS) for model in models) / 3
    torch.testing.assert_close(teacher(ROWS), expected)
    assert not teacher(ROWS).requires_grad


def test_client_models_are_copied_and_answer_without_dropout():
    model = nn.Sequential(nn.Linear(8, 3), nn.Dropout(0.5)).train()
    teacher = EnsembleTeacher([model], "local").eval()
    before = teacher(ROWS)
    nn.init.zeros_(model[0].weight)
    assert torch.equal(teacher(ROWS), before)
    assert model.training


def test_an_update_is_added_to_the_global_model():
    model = nn.Linear(8, 3)
    update = {"weight": np.ones((3, 8), np.float32)}
    (moved,) = client_models(model, [update])
    torch.testing.assert_close(moved.weight, model.weight + 1)
    assert torch.equal(moved.bias, model.bias)
    assert not moved.training


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"gone": np.ones(3, np.float32)}, r"update 'gone': expected one of weight, bias, got shape \[3\]"),
        ({"bias": np.ones(4, np.float32)}, r"update 'bias': expected shape \[3\], got shape \[4\]"),
    ],
)
def test_updates_of_another_model_are_refused(update, words):
    with pytest.raises(ValueError, match=words):
        client_models(nn.Linear(8, 3), [update])


@pytest.mark.parametrize("mode", ["central", "distributed"])
def test_client_models_that_nobody_released_are_refused(mode):
    with pytest.raises(ConfigError, match=f"expected none or local to learn from client models: .* got '{mode}'"):
        EnsembleTeacher([nn.Linear(8, 3)], mode)
    for usable in ("none", "local"):
        admit_client_models(usable)


def test_an_ensemble_needs_models_that_agree_on_the_classes():
    with pytest.raises(ValueError, match="at least 1 client model, got none"):
        EnsembleTeacher([], "none")
    with pytest.raises(ValueError, match=r"logits of one shape from all client models, got \[\(20, 2\), \(20, 3\)\]"):
        EnsembleTeacher([nn.Linear(8, 3), nn.Linear(8, 2)], "none")(ROWS)


def test_a_student_of_the_ensemble_knows_what_no_single_client_does():
    """Each client knows one class against the rest; only their mean tells the three apart."""
    whole = sharp(perceptron(32, seed=1))
    clients = []
    for known in range(3):
        client = sharp(perceptron(32, seed=1))
        with torch.no_grad():
            client[2].weight[[c for c in range(3) if c != known]] = 0
            client[2].bias[[c for c in range(3) if c != known]] = 0
        clients.append(client)
    teacher = EnsembleTeacher(clients, "none")
    step = Distil(epochs=40, batch_size=30, learning_rate=0.02, temperature=1.0)
    student = step.apply(perceptron(24), material(teacher), np.random.default_rng(0))
    assert agreement(student, whole) > max(agreement(client, whole) for client in clients) + 0.1
