"""LiRA: its formula, its power where it is known, and silence where nothing leaks."""

import numpy as np
import pytest
from scipy import stats
from shadow_kit import made_up

from fedcomp.audit.intervals import auc
from fedcomp.audit.lira import LIRA_ASSUMPTIONS, lira
from fedcomp.audit.shadow_models import ShadowScores, report_attack


def judge(scores, members):
    return report_attack(scores, members, LIRA_ASSUMPTIONS, delta=1e-5, rng=np.random.default_rng(0))


def by_the_book(shadows, target, shared):
    """The same in plain loops, with SciPy's densities."""
    found = []
    sides = [np.where(chosen, shadows.scores, np.nan) for chosen in (shadows.included, ~shadows.included)]
    common = [np.sqrt(np.nanvar(side, axis=0, ddof=1).mean()) for side in sides]
    for record, score in enumerate(target):
        within, without = (
            stats.norm.logpdf(
                score, np.nanmean(side[:, record]), pooled if shared else np.nanstd(side[:, record], ddof=1)
            )
            for side, pooled in zip(sides, common, strict=True)
        )
        found.append(within - without)
    return np.array(found)


@pytest.mark.parametrize(("models", "shared"), [(16, True), (62, True), (64, False)])
def test_it_is_the_ratio_of_densities(models, shared):
    """Variances are shared below 64 models; the other choice would give other scores."""
    shadows, _, target, _ = made_up(1.0, np.random.default_rng(0), models=models, records=40)
    assert lira(shadows, target) == pytest.approx(by_the_book(shadows, target, shared), abs=1e-9)
    assert np.abs(lira(shadows, target) - by_the_book(shadows, target, not shared)).max() > 0.1


def test_it_has_nearly_the_power_that_theory_allows():
    """At an effect of 2 deviations the best attack has an AUC of .921; one threshold for all records sees little."""
    shadows, members, target, _ = made_up(2.0, np.random.default_rng(1))
    best = stats.norm.cdf(2 / np.sqrt(2))
    assert auc(target[members], target[~members]) < 0.65
    for offline, share in ((False, 0.98), (True, 0.97)):
        scores = lira(shadows, target, offline=offline)
        assert share * best < auc(scores[members], scores[~members]) < best + 0.01


def test_offline_leaves_out_what_members_models_say():
    shadows, _, target, _ = made_up(2.0, np.random.default_rng(2), records=50)
    other = ShadowScores(np.where(shadows.included, 0.0, shadows.scores), shadows.included, shadows.population)
    assert np.array_equal(lira(shadows, target, offline=True), lira(other, target, offline=True))
    assert not np.array_equal(lira(shadows, target), lira(other, target))


@pytest.mark.parametrize("offline", [False, True])
def test_it_is_silent_where_nothing_leaks(offline):
    """Fixed seed: no effect at all; and a real effect, with the truth about members shuffled."""
    rng = np.random.default_rng(3)
    for effect in (0.0, 2.0):
        shadows, members, target, _ = made_up(effect, rng, records=20_000)
        truth = members if not effect else rng.permutation(members)
        report = judge(lira(shadows, target, offline=offline), truth)
        assert report.auc_low < 0.5 < report.auc_high
        assert report.tpr_at_fpr[0].tpr < 0.003
        assert report.epsilon_lower_bound == 0
        assert report.assumptions == LIRA_ASSUMPTIONS


def test_constant_scores_are_no_division_by_zero():
    shadows, _, target, _ = made_up(0.0, np.random.default_rng(4), records=20)
    flat = ShadowScores(np.zeros_like(shadows.scores), shadows.included, shadows.population)
    assert not lira(flat, np.zeros_like(target)).any()


@pytest.mark.parametrize("target", [np.zeros(19), np.full(20, np.inf)])
def test_scores_that_do_not_fit_are_refused(target):
    shadows = made_up(0.0, np.random.default_rng(5), records=20)[0]
    with pytest.raises(ValueError, match=r"target must be finite scores \[20\]"):
        lira(shadows, target)
