"""Rows of tokens: what an update gives away of them, and what it does not."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from audit.token_kit import PAD, VOCABULARY, Backwards
from fedcomp.audit.token_rows import has_tokens, token_bags, tokens_of_update, vocabulary_of
from fedcomp.rng import stream
from fedcomp.training import train_plain

TASK = Backwards()


def update_of(rows, optimizer="sgd"):
    module = TASK.model(0)
    options = {"local_steps": 1, "batch_size": len(rows), "learning_rate": 0.1, "optimizer": optimizer}
    return train_plain(copy.deepcopy(module), rows, loss=TASK.loss, rng=stream(0), **options).update


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_update_tells_the_tokens_of_its_row_and_no_others(optimizer):
    for number in range(5):
        row = TASK.train().take(np.array([number]))
        found = tokens_of_update(TASK.model(0), update_of(row, optimizer), PAD)
        bag = token_bags(TASK.model(0), row.inputs, PAD)[0]
        np.testing.assert_array_equal(np.flatnonzero(found > 1e-6), np.flatnonzero(bag))
        assert np.linalg.norm(found) == pytest.approx(1)


def test_what_moves_every_token_alike_tells_nothing():
    module, update = TASK.model(0), {"embedding.weight": np.ones((VOCABULARY, 16), np.float32)}
    assert not tokens_of_update(module, update, PAD).any()


def test_bags_count_tokens_without_padding():
    rows = np.array([[5, 5, PAD, 7], [PAD, PAD, PAD, PAD]])
    bags = token_bags(TASK.model(0), rows, PAD)
    assert bags.shape == (2, VOCABULARY)
    assert bags[0, 5] == pytest.approx(2 * bags[0, 7]) == pytest.approx(2 / np.sqrt(5))
    assert not bags[1].any()


def test_places_have_an_embedding_too():
    module = nn.ModuleDict({"places": nn.Embedding(4, 3), "words": nn.Embedding(9, 3)})
    assert vocabulary_of(module) == 4
    update = {"places.weight": np.ones((4, 3)), "words.weight": np.eye(9, 3)}
    np.testing.assert_array_equal(np.flatnonzero(tokens_of_update(module, update, 0)), [1, 2])
    assert token_bags(module, np.array([[8]]), 0)[0, 8] == 1


def test_numbers_are_no_tokens():
    assert has_tokens(TASK.train().inputs)
    assert not has_tokens(np.zeros((2, 3), np.float16))
    with pytest.raises(ValueError, match="expected a model with an embedding of tokens, got a Linear without"):
        vocabulary_of(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"update must hold 'embedding\.weight', got"):
        tokens_of_update(TASK.model(0), {"other": torch.zeros(2).numpy()}, PAD)
