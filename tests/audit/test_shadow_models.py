"""Shadow models: who is trained on what, what is scored, and the judge of an attack's scores."""

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.audit import infer_membership
from fedcomp.audit.shadow_models import ShadowScores, label_confidence, random_halves, report_attack, shadow_scores

INPUTS, TARGETS = np.arange(30, dtype=np.float32)[:, None], np.zeros(30, dtype=np.int64)


def train_by_heart(rows, seed):
    return frozenset(rows.tolist()), seed


def knows(model, inputs, targets):
    assert len(inputs) == len(targets)
    return np.array([float(value in model[0]) for value in inputs[:, 0]])


def test_each_record_is_in_exactly_half_of_the_models():
    included = random_halves(16, 1000, np.random.default_rng(0))
    assert (included.sum(axis=0) == 8).all()
    assert len(np.unique(included, axis=1).T) > 900  # 12,870 ways to choose: nearly every record has its own
    assert not np.array_equal(included, random_halves(16, 1000, np.random.default_rng(1)))


def test_every_model_is_trained_on_its_rows_and_scores_all():
    calls = []

    def train(rows, seed):
        calls.append((rows, seed))
        return train_by_heart(rows, seed)

    found = shadow_scores(train, knows, INPUTS, TARGETS, num_models=4, rng=np.random.default_rng(0))
    assert np.array_equal(found.scores.astype(bool), found.included)
    assert found.population.shape == (4, 0)
    assert all((np.diff(rows) > 0).all() for rows, _ in calls)
    assert len({seed for _, seed in calls}) == 4


def test_the_population_is_scored_and_equal_seeds_agree():
    outside = INPUTS[:7] + 100, TARGETS[:7]
    first, again = (
        shadow_scores(
            train_by_heart, knows, INPUTS, TARGETS, num_models=6, population=outside, rng=np.random.default_rng(3)
        )
        for _ in range(2)
    )
    assert first.population.shape == (6, 7)
    assert not first.population.any()
    assert np.array_equal(first.included, again.included)


def test_label_confidence_is_the_log_odds_and_never_infinite():
    """The wrong variant, from the probability, is infinite where a model is sure."""
    module = nn.Linear(3, 4)
    with torch.no_grad():
        module.weight.copy_(torch.tensor(np.random.default_rng(0).normal(size=(4, 3))))
        module.bias.zero_()
    inputs = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    targets = np.arange(50) % 4
    for size in (1.0, 1000.0):
        scaled = (size * inputs).astype(np.float32)
        logits = module(torch.from_numpy(scaled)).detach().double().numpy()
        chance = np.exp(logits - logits.max(axis=1, keepdims=True))
        chance = (chance / chance.sum(axis=1, keepdims=True))[np.arange(50), targets]
        with np.errstate(divide="ignore"):
            naive = np.log(chance) - np.log1p(-chance)
        found = label_confidence(module, scaled, targets)
        assert np.isfinite(found).all()
        if size == 1:
            assert found == pytest.approx(naive, abs=1e-9)
        else:
            assert not np.isfinite(naive).all()


def test_the_judge_agrees_with_the_loss_attack_and_carries_its_own_words():
    rng = np.random.default_rng(2)
    members = np.arange(4000) < 2000
    scores = rng.normal(size=4000) + members
    report = report_attack(scores, members, "words", delta=1e-5, rng=np.random.default_rng(0))
    plain = infer_membership(-scores[members], -scores[~members], delta=1e-5, rng=np.random.default_rng(0))
    assert report.assumptions == "words"
    assert (report.auc, report.tpr_at_fpr, report.epsilon_lower_bound) == (
        plain.auc,
        plain.tpr_at_fpr,
        plain.epsilon_lower_bound,
    )
    assert report.auc > 0.7


def test_scores_by_chance_find_nothing():
    """Negative control; a fixed seed."""
    rng = np.random.default_rng(4)
    members = rng.permutation(20_000) < 10_000
    report = report_attack(rng.normal(size=20_000), members, "", delta=1e-5, rng=rng)
    assert report.auc_low < 0.5 < report.auc_high
    assert report.tpr_at_fpr[0].tpr < 0.003
    assert report.epsilon_lower_bound == 0


@pytest.mark.parametrize("number", [2, 5])
def test_numbers_of_models_that_cannot_be_halved_are_refused(number):
    with pytest.raises(ValueError, match=f"num_models must be even and at least 4, got {number}"):
        random_halves(number, 10, np.random.default_rng(0))


HALVES = np.array([[True, False], [True, False], [False, True], [False, True]])


@pytest.mark.parametrize(
    ("scores", "included", "population", "words"),
    [
        (np.zeros((4, 3)), HALVES, np.zeros((4, 0)), r"got \[4, 3\] and \[4, 2\]"),
        (np.zeros((4, 2)), HALVES, np.zeros((3, 0)), r"population must be \[4 models, records\], got \[3, 0\]"),
        (np.full((4, 2), np.nan), HALVES, np.zeros((4, 0)), "must not hold NaN"),
        (np.zeros((4, 2)), np.ones((4, 2), dtype=bool), np.zeros((4, 0)), "leave it out of two or more"),
        (np.zeros((4, 0)), HALVES[:, :0], np.zeros((4, 0)), "included must put every record"),
    ],
)
def test_scores_that_do_not_fit_are_refused(scores, included, population, words):
    with pytest.raises(ValueError, match=words):
        ShadowScores(scores, included, population)


def test_what_the_judge_cannot_use_is_refused():
    with pytest.raises(ValueError, match=r"members must be a bool for each of \[5\] scores, got int64\[5\]"):
        report_attack(np.zeros(5), np.zeros(5, dtype=np.int64), "", delta=0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="two classes or more"):
        label_confidence(nn.Linear(1, 1), INPUTS, TARGETS)


def test_confidence_in_a_sequence_is_the_mean_over_its_tokens_without_padding():
    class Table(nn.Module):
        """Logits ``[n, 3, 4]`` from rows of numbers ``[n, 12]``."""

        def forward(self, rows):
            return rows.reshape(-1, 3, 4)

    rows = np.random.default_rng(0).normal(size=(5, 12)).astype(np.float32)
    targets = np.array([[0, 1, 3], [2, 3, 3], [3, 3, 3], [1, 1, 1], [0, 2, 1]])
    single = label_confidence(Flat(), rows.reshape(15, 4), targets.reshape(15)).reshape(5, 3)
    counted = targets != 3
    expected = (single * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    assert label_confidence(Table(), rows, targets, padding=3) == pytest.approx(expected)
    assert label_confidence(Table(), rows, targets) == pytest.approx(single.mean(axis=1))


class Flat(nn.Module):
    """Logits are the rows."""

    def forward(self, rows):
        return rows
