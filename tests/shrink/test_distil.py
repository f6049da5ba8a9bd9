"""Distillation on public rows."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink import distil
from fedcomp.tasks.base import Split

WEIGHT = np.random.default_rng(9).standard_normal((8, 3)).astype(np.float32)


def rows(count: int = 200) -> Split:
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((count, 8)).astype(np.float32)
    return Split(raw, np.zeros(count, np.int64), raw)  # labels that are of no use


def student(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Dropout(0.1), nn.Linear(12, 3))


def teacher(raw: np.ndarray) -> np.ndarray:
    return 3 * raw @ WEIGHT


def run(module: nn.Module, public: Split | None = None, ask=teacher, seed: int = 0, **changes) -> nn.Module:
    values = {"temperature": 2.0, "epochs": 15, "batch_size": 20, "learning_rate": 0.03, "hard_label_weight": 0.0}
    return distil(
        module, rows() if public is None else public, ask, rng=np.random.default_rng(seed), **(values | changes)
    )


def agreement(module: nn.Module) -> float:
    raw = np.random.default_rng(5).standard_normal((500, 8)).astype(np.float32)
    with torch.no_grad():
        return float((module.eval()(torch.from_numpy(raw)).argmax(1).numpy() == teacher(raw).argmax(1)).mean())


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_student_learns_from_the_teacher_and_not_from_labels():
    untrained = student()
    assert agreement(untrained) < 0.7
    assert agreement(run(untrained)) > 0.9
    assert agreement(run(untrained, hard_label_weight=1.0)) < 0.7  # all labels are class 0


def test_equal_seeds_give_equal_bits_and_others_do_not():
    weights = [run(student(), seed=seed, epochs=2)[0].weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_student_and_global_generator_are_left_alone():
    module, state = student(), torch.get_rng_state()
    before = module[0].weight.detach().clone()
    trained = run(module, epochs=1)
    assert torch.equal(module[0].weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    assert not trained.training
    assert module.training


def test_teacher_is_asked_once_a_version():
    asked: list[tuple[int, ...]] = []

    def recording(raw: np.ndarray) -> np.ndarray:
        asked.append(raw.shape)
        return raw.reshape(len(raw), -1)[:, :3]

    raw = np.random.default_rng(0).random((6, 1, 5, 5)).astype(np.float32)
    images = nn.Sequential(nn.Flatten(), nn.Linear(25, 3))
    run(images, Split(raw, np.zeros(6, np.int64), raw), recording, copies=3, epochs=4)
    assert asked == [(6, 1, 5, 5)] * 3


def test_sequences_are_asked_a_batch_at_a_time_and_padding_does_not_count():
    tokens = np.random.default_rng(0).integers(1, 5, (60, 4))
    tokens[:, 3] = 0
    targets, asked = tokens % 4 + 1, []
    targets[:, 3] = 0

    def next_token(raw: np.ndarray) -> np.ndarray:
        asked.append(len(raw))
        return 9 * np.eye(5, dtype=np.float32)[np.where(raw == 0, 4, raw % 4 + 1)]

    reader = nn.Sequential(nn.Embedding(5, 16), nn.Linear(16, 5))
    learnt = run(reader, Split(tokens, targets, tokens), next_token, epochs=20)
    assert set(asked) == {1, 20}
    with torch.no_grad():
        logits = learnt(torch.arange(5))
    assert logits[1:].argmax(1).tolist() == [2, 3, 4, 1]
    assert logits[0].softmax(0)[4] < 0.6  # what the teacher says of padding was not learnt


def test_there_is_no_way_to_hand_it_private_rows():
    splits = [name for name, parameter in inspect.signature(distil).parameters.items() if parameter.annotation is Split]
    assert splits == ["public"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.0}, "temperature must be greater than 0 and finite, got 0.0"),
        ({"learning_rate": np.nan}, "learning_rate must be greater than 0 and finite, got nan"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"copies": 0}, "copies must be at least 1, got 0"),
        ({"hard_label_weight": 1.5}, r"hard_label_weight must be in \[0, 1\], got 1.5"),
        ({"public": rows().take(np.arange(0))}, "needs public rows to learn from, got 0"),
        ({"ask": lambda raw: np.full((len(raw), 3), np.nan)}, r"finite logits \[200, classes\]"),
        ({"ask": lambda raw: np.zeros(len(raw))}, r"finite logits \[200, classes\], got \[200\]"),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        run(student(), **changes)
