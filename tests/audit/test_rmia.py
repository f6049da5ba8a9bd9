"""RMIA: its formula, pair by pair; its power; and silence where nothing leaks."""

import numpy as np
import pytest
from scipy import special
from shadow_kit import made_up

from fedcomp.audit.intervals import auc
from fedcomp.audit.rmia import RMIA_ASSUMPTIONS, rmia
from fedcomp.audit.shadow_models import ShadowScores, report_attack


def by_the_book(shadows, target, others, gamma, offline):
    """The share of pairs that pass the test, in plain loops over probabilities."""
    chance = special.expit
    a, shares = 0.5 if offline is None else offline, []
    never = chance(shadows.population).mean(axis=0)
    other_ratio = chance(others) / (0.5 * ((1 + a) * never + 1 - a))
    for record, score in enumerate(target):
        models = chance(shadows.scores[:, record])
        without = models[~shadows.included[:, record]].mean()
        within = models[shadows.included[:, record]].mean() if offline is None else a * without + 1 - a
        ratio = chance(score) / (0.5 * (within + without))
        shares.append(np.mean(ratio / other_ratio >= gamma))
    return np.array(shares)


@pytest.mark.parametrize("offline", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_it_is_the_share_of_population_records_that_are_beaten(gamma, offline):
    shadows, _, target, others = made_up(1.0, np.random.default_rng(0), records=60, population=50)
    expected = by_the_book(shadows, target, others, gamma, offline)
    found = rmia(shadows, target, others, gamma=gamma, offline=offline)
    assert np.floor(50 * found) == pytest.approx(50 * expected, abs=1e-6)
    assert len(np.unique(found)) == 60  # records that beat equally many are still told apart


def test_it_sees_what_one_threshold_does_not():
    shadows, members, target, others = made_up(2.0, np.random.default_rng(1))
    alone = auc(target[members], target[~members])
    for offline in (None, 0.3):
        scores = rmia(shadows, target, others, offline=offline)
        assert auc(scores[members], scores[~members]) > alone + 0.1


@pytest.mark.parametrize("offline", [None, 0.3])
def test_it_is_silent_where_nothing_leaks(offline):
    """Fixed seed: no effect at all; and a real effect, with the truth about members shuffled."""
    rng = np.random.default_rng(2)
    for effect in (0.0, 2.0):
        shadows, members, target, others = made_up(effect, rng, records=20_000)
        truth = members if not effect else rng.permutation(members)
        scores = rmia(shadows, target, others, offline=offline)
        report = report_attack(scores, truth, RMIA_ASSUMPTIONS, delta=1e-5, rng=rng)
        assert report.auc_low < 0.5 < report.auc_high
        assert report.tpr_at_fpr[0].tpr < 0.003
        assert report.epsilon_lower_bound == 0


def test_hopeless_records_are_ranked_too():
    shadows, _, target, others = made_up(0.0, np.random.default_rng(3), records=20)
    low = ShadowScores(shadows.scores - 2000, shadows.included, shadows.population)
    assert np.isfinite(rmia(low, target - 2000, others)).all()


def test_what_does_not_fit_is_refused():
    shadows, _, target, others = made_up(0.0, np.random.default_rng(4), records=20, population=10)
    without = ShadowScores(shadows.scores, shadows.included, shadows.population[:, :0])
    for arguments, changes, words in [
        ((shadows, target[:5], others), {}, r"target must be finite scores \[20\], got \[5\]"),
        ((shadows, target, others[:5]), {}, r"target_population must be finite scores \[10\], got \[5\]"),
        ((without, target, others[:0]), {}, "shadows must hold scores of population records, got none"),
        ((shadows, target, others), {"gamma": 0.5}, "gamma must be at least 1, got 0.5"),
        ((shadows, target, others), {"offline": 2.0}, r"offline must be in \[0, 1\], got 2.0"),
    ]:
        with pytest.raises(ValueError, match=words):
            rmia(*arguments, **changes)
