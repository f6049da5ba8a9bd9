"""Distillation as a step."""

import json

import numpy as np
import pytest
import torch
from distillation_kit import agreement, cross_entropy, material, perceptron, seeded, sharp, vectors
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError, shrink
from fedcomp.shrink.distillation import Distil, learn
from fedcomp.shrink.distillation.lesson import prepare
from fedcomp.threads import single_thread

TEACHER = sharp(perceptron(32, seed=1))


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def run(module: nn.Module, offered: Material | None = None, seed: int = 0, **options) -> nn.Module:
    step = Distil(**{"epochs": 20, "batch_size": 30, "learning_rate": 0.02} | options)
    return step.apply(module, offered or material(TEACHER), np.random.default_rng(seed))


def test_the_student_learns_from_the_teacher_without_any_label():
    student = perceptron(24)
    assert agreement(student, TEACHER) < 0.6
    assert agreement(run(student, epochs=40), TEACHER) > 0.87


def test_the_same_generator_gives_the_same_bits_and_all_else_is_left_alone():
    student = seeded(lambda: nn.Sequential(nn.Linear(8, 9), nn.Dropout(0.2), nn.ReLU(), nn.Linear(9, 3)))
    before, state = student[0].weight.detach().clone(), torch.get_rng_state()
    teacher = perceptron(32, seed=1).train()
    first, second, third = (run(student, material(teacher), seed, epochs=2) for seed in (1, 1, 2))
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, third[0].weight)
    assert torch.equal(student[0].weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert (student.training, teacher.training, first.training) == (True, True, False)
    assert first[0].weight.grad is None


def test_hard_labels_have_their_share():
    labelled = material(TEACHER, targets=np.zeros(300, np.int64))
    zeros = run(perceptron(12), labelled, hard_label_weight=1.0)
    assert float((zeros(torch.from_numpy(vectors(seed=5))).argmax(1) == 0).double().mean()) > 0.95
    assert agreement(run(perceptron(12), labelled), TEACHER) > 0.8


def test_hints_bring_hidden_features_together_that_logits_alone_leave_apart():
    def apart(student: nn.Module) -> float:
        """How much of the teacher's hidden features no linear map of the student's explains, on rows not seen."""
        rows = torch.from_numpy(vectors(500, 5))
        with torch.no_grad():
            own, other = student[0](rows), TEACHER[0](rows)
            left = other - own @ torch.linalg.lstsq(own, other).solution
        return float(left.square().mean() / other.square().mean())

    narrow = perceptron(6)  # 8 inputs do not fit through 6 units: which directions survive is what hints decide
    plain = run(narrow, feature_weight=0.0)
    hinted = run(narrow, feature_weight=20.0, feature_layers=["0"])
    assert apart(hinted) < 0.8 * apart(plain)


class Tagger(nn.Module):
    """A model from tokens ``[n, length]`` to logits ``[n, length, vocabulary]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.last = nn.Embedding(12, width), nn.Linear(width, 12)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.last(self.embed(tokens))


def sentences(count: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    tokens = rng.integers(1, 12, size=(count, 7))
    tokens[np.arange(7) >= rng.integers(2, 8, size=(count, 1))] = 0
    return tokens


def test_sequences_are_learnt_and_padding_counts_for_nothing():
    teacher = seeded(lambda: Tagger(10), 1)
    with torch.no_grad():
        teacher.last.weight.mul_(4)
    broken = torch.zeros(12)
    broken[3] = 1e4  # what the teacher says to padding is of no account

    def hooked(_, inputs, outputs):
        return torch.where((inputs[0] == 0)[..., None], broken, outputs)

    teacher.register_forward_hook(hooked)
    student = seeded(lambda: Tagger(6), 2)
    trained = run(student, material(teacher, sentences()), epochs=60, learning_rate=0.05)
    words = np.arange(1, 12)[None]
    assert agreement(trained, teacher, words) > 0.9
    moved = (trained.embed.weight - student.embed.weight).abs().amax(1)
    assert moved[0] < 0.05 < moved[1:].min()  # weight decay alone moves what padding embeds


def test_an_answer_counts_by_its_target_or_else_by_the_token_before_it():
    tokens = np.array([[5, 1, 2, 0, 7, 0], [5, 1, 2, 3, 0, 0]])
    teacher = seeded(lambda: Tagger(4))
    teacher.register_forward_hook(lambda *all_: all_[2][:, -2:])
    rng = np.random.default_rng(0)
    assert prepare(material(teacher, tokens), 1, 0, rng).counted.tolist() == [[True, False], [False, False]]
    targets = np.array([[4, 4], [4, 0]])
    assert prepare(material(teacher, tokens, targets), 1, 0, rng).counted.tolist() == [[True, True], [True, False]]
    assert prepare(material(teacher, tokens), 1, 7, rng).counted.tolist() == [[False, True], [True, True]]


def test_half_precision_rows_and_images_in_versions_are_learnt():
    images = np.random.default_rng(0).random((40, 1, 5, 5)).astype(np.float16)
    teacher = seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)), 1)
    student = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)), 2)
    offered = material(teacher, images)
    lesson = prepare(offered, 3, 0, np.random.default_rng(0))
    assert lesson.versions.shape == (3, 40, 1, 5, 5)
    assert lesson.versions.dtype == torch.float32
    trained = run(student, offered, feature_weight=1.0, epochs=30)
    assert agreement(trained, teacher, images.astype(np.float32)) > agreement(student, teacher, images.astype("f4"))


def test_answers_that_do_not_fit_in_memory_are_asked_for_again_and_are_the_same(monkeypatch):
    kept = run(perceptron(5), epochs=2)
    monkeypatch.setattr("fedcomp.shrink.distillation.lesson._KEPT_BYTES", 0)
    asked = run(perceptron(5), epochs=2)
    torch.testing.assert_close(kept[0].weight, asked[0].weight, rtol=1e-3, atol=1e-4)


def test_what_a_mask_took_out_stays_out_if_asked_for():
    masked = perceptron(12)
    with torch.no_grad():
        masked[0].weight[:, ::2] = 0
        masked[2].bias.zero_()
    held, free = run(masked, keep_zeros=True, epochs=2), run(masked, epochs=2)
    assert torch.equal(held[0].weight == 0, masked[0].weight == 0)
    assert (held[2].bias != 0).all()
    assert (free[0].weight != 0).all()


def test_a_step_is_its_config_and_is_told_what_it_read():
    step = Distil(epochs=1, feature_layers=["0"])
    assert Distil(**{k: v for k, v in json.loads(json.dumps(step.config())).items() if k != "id"}) == step
    private = material(TEACHER, data="synthetic")
    assert shrink(perceptron(4), [step], private, np.random.default_rng(0), private=True).steps[0][1] == "synthetic"


def not_finite() -> nn.Module:
    broken = perceptron(4)
    nn.init.constant_(broken[2].bias, np.nan)
    return broken


@pytest.mark.parametrize(
    ("offered", "options", "words"),
    [
        (material(None), {}, "expected a teacher in the material, got none"),
        (material(TEACHER, vectors(0)), {}, "expected public rows to learn from, got 0"),
        (material(TEACHER), {"hard_label_weight": 0.5}, "hard_label_weight is 0.5: expected targets"),
        (material(not_finite()), {}, r"finite logits .*, got \[1, 3\], not finite"),
        (material(perceptron(4, classes=1)), {}, r"at least 2 classes, got \[1, 1\]"),
        (material(perceptron(4, classes=5)), {}, r"shape of logits \[30, 5\], got \[30, 3\]"),
        (material(TEACHER), {"learning_rate": 1e30, "epochs": 3}, "expected a finite loss, got .* may be too large"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(offered, options, words):
    with pytest.raises(ShrinkError, match=words):
        run(perceptron(4), offered, **options)


def test_a_module_without_parameters_that_learn_is_refused():
    with pytest.raises(ShrinkError, match="a module with parameters that learn, got one without"):
        run(perceptron(4).requires_grad_(False))


def test_hints_need_a_teacher_to_look_into():
    lesson = prepare(material(TEACHER), 1, 0, np.random.default_rng(0))
    blind = type(lesson)(lesson.versions, lesson.answers, None, cross_entropy)
    with pytest.raises(ShrinkError, match=r"feature_weight is 0.1: expected a teacher to look into, got answers"):
        learn(perceptron(4), blind, Distil(feature_weight=0.1), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": np.inf}, "temperature must be greater than 0 and finite, got inf"),
        ({"feature_weight": -1.0}, "feature_weight must be at least 0 and finite, got -1.0"),
        ({"hard_label_weight": 1.5}, r"hard_label_weight must be in \[0, 1\], got 1.5"),
        ({"copies": 0}, "copies must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"weight_decay": np.nan}, "weight_decay must be at least 0 and finite, got nan"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Distil(**options)
