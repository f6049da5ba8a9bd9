"""The translation tasks on made texts: what a row is, who holds it, and that the vocabulary knows no private text."""

import numpy as np
import pytest
import torch

pytest.importorskip("tokenizers")

from contracts import task_suite as suite
from fedcomp.errors import DataError
from fedcomp.tasks import translation
from fedcomp.tasks.sources.subwords import Mark
from fedcomp.tasks.sources.text_pairs import TextPair
from fedcomp.tasks.translation import Translation, draw_parts

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven")
SPANISH = ("uno", "dos", "tres", "cuatro", "cinco", "seis", "siete")


def pairs(_download=False):
    found = []
    for book in range(4):
        for chapter in range(1 if book == 3 else 10):
            for verse in range(6):
                chosen = [(book + chapter * 3 + verse * step) % 7 for step in (1, 2, 5)]
                source, target = (" ".join(words[number] for number in chosen) for words in (NUMBERS, SPANISH))
                found.append(TextPair(f"{source} {book}", f"{target} {book}", f"b{book}", f"b{book} {chapter}"))
    return (*found, TextPair("far too long " * 9, "demasiado", "b0", "b0 0"))


def small(name="small"):
    return translation._Text(name, pairs, length=16, vocabulary=300, width=32, test_share=0.2, vocabulary_share=0.2)


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setitem(translation._TEXTS, "bible", small())
    return Translation("bible")


def test_a_row_is_the_source_then_the_target_behind_a_first_token(task):
    train = task.train()
    assert train.inputs.shape == (len(train), 32)
    assert train.inputs.dtype == train.targets.dtype == np.int64
    source, begun = train.inputs[:, :16], train.inputs[:, 16:]
    assert (begun[:, 0] == Mark.BEGIN).all()
    np.testing.assert_array_equal(begun[:, 1:][begun[:, 1:] != Mark.PAD], train.targets[train.targets > Mark.PAD])
    assert ((source == Mark.END).sum(axis=1) == 1).all()
    assert ((train.targets == Mark.END).sum(axis=1) == 1).all()
    assert not (begun == Mark.END).any()
    texts = task.subwords.decode(source), task.subwords.decode(train.targets)
    known = {(pair.source, pair.target) for pair in pairs()}
    assert all(pair in known for pair in zip(*texts, strict=True))


def test_chapters_are_held_out_whole_and_long_texts_left_out(task):
    parts = draw_parts(pairs(), 0.2, 0.2, np.random.default_rng(3))
    of_unit = {}
    for pair, part in zip(pairs(), parts, strict=True):
        assert of_unit.setdefault(pair.unit, part) == part
    assert [list(of_unit.values()).count(part) for part in (1, 2)] == [6, 6]
    held = task.subwords.decode(np.concatenate([task.train().targets, task.test().targets]))
    short = [pair.target for pair, part in zip(task._pairs, task._parts, strict=True) if part != 2]
    assert sorted(held) == sorted(text for text in short if text != "demasiado")


def test_every_holder_keeps_training_rows(task):
    for seed in range(20):
        parts = draw_parts(pairs(), 0.3, 0.3, np.random.default_rng(seed))
        assert {pair.holder for pair, part in zip(pairs(), parts, strict=True) if part == 0} == {"b0", "b1", "b2", "b3"}
    groups = task.groups()
    assert len(groups) == len(task.train())
    assert sorted(set(groups)) == [0, 1, 2, 3]
    books = [text.split()[-1] for text in task.subwords.decode(task.train().targets)]
    assert books == [str(group) for group in groups]


def test_the_vocabulary_is_learnt_on_what_no_client_and_no_test_has(task, monkeypatch):
    learnt = []
    real = translation.learn_subwords
    monkeypatch.setattr(translation, "learn_subwords", lambda texts, size: learnt.extend(texts) or real(texts, size))
    fresh = Translation("bible")
    held = {text for split in (fresh.train(), fresh.test()) for text in fresh.subwords.decode(split.targets)}
    apart = {pair.unit for pair, part in zip(fresh._pairs, fresh._parts, strict=True) if part == 2}
    assert set(learnt) == {text for pair in pairs() if pair.unit in apart for text in (pair.source, pair.target)}
    assert held


def test_it_keeps_the_contract_of_tasks(task):
    suite.check_validates_for_opacus(task)
    suite.check_initial_weights(task.model)
    suite.check_initial_weights(task.student)
    suite.check_dataset_id(task, Translation("bible"))
    assert task.train().targets.max() < task.num_classes


def test_the_student_has_one_decoder_layer(task):
    assert [len(model.decoder) for model in (task.model(0), task.student(0))] == [3, 1]
    assert task.student(0)(torch.from_numpy(task.test().inputs[:2])).shape == (2, 16, task.num_classes)


def test_loss_and_metric_are_of_tokens_without_padding(task):
    targets = torch.tensor([[5, 6, Mark.END, Mark.PAD], [7, Mark.END, Mark.PAD, Mark.PAD]])
    logits = torch.zeros(2, 4, 10)
    torch.testing.assert_close(task.loss(logits, targets), torch.full((2,), 10.0).log())
    logits[0, 0, 5] = logits[1, 1, Mark.END] = 50.0
    logits[:, 3, 9] = 50.0  # at places of padding, where nobody asks
    expected = torch.tensor([2 / 3, 1 / 2]) * torch.tensor(10.0).log()
    torch.testing.assert_close(task.loss(logits, targets), expected, atol=1e-4, rtol=1e-4)
    assert task.metric(logits, targets) == pytest.approx(3 / 5)  # ties are for the first token: the end in row 0
    nothing = torch.full((1, 4), int(Mark.PAD))
    assert task.loss(logits[:1], nothing).item() == 0
    assert task.metric(logits[:1], nothing) == 0


def test_it_learns(task):
    model, rows = task.model(0), task.train().take(np.arange(48))
    inputs, targets = torch.from_numpy(rows.inputs), torch.from_numpy(rows.targets)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = task.loss(model(inputs), targets).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_the_real_texts_fit_the_sizes():
    try:
        task = Translation("programs")
    except DataError as error:
        pytest.skip(str(error))
    train, test = task.train(), task.test()
    assert len(train) > 15_000
    assert len(test) > 800
    assert task.num_classes == 3000
    assert train.inputs.shape[1] == 2 * train.targets.shape[1] == 32
    assert len(set(task.groups())) == 35
    assert not {row.tobytes() for row in train.inputs[:, :16]} & {row.tobytes() for row in test.inputs[:, :16]}
