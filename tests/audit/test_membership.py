"""The membership report."""

import dataclasses
import json

import numpy as np
import pytest

from fedcomp.audit import MembershipReport, infer_membership


def attack(held_in, held_out, **changes) -> MembershipReport:
    values = {"delta": 1e-5, "rng": np.random.default_rng(0)} | changes
    return infer_membership(np.asarray(held_in), np.asarray(held_out), **values)


def test_perfect_separation():
    report = attack(np.linspace(0, 1, 2000), np.linspace(2, 3, 2000))
    assert report.auc == report.auc_high == 1.0
    assert report.auc_low > 0.99
    assert [(each.fpr, each.tpr) for each in report.tpr_at_fpr] == [(0.001, 1.0), (0.01, 1.0)]
    assert report.epsilon_lower_bound > 5


def test_no_difference():
    rng = np.random.default_rng(1)
    report = attack(rng.exponential(size=3000), rng.exponential(size=3000))
    assert report.auc == pytest.approx(0.5, abs=0.03)
    assert report.auc_low < 0.5 < report.auc_high
    assert report.epsilon_lower_bound == 0.0
    for each in report.tpr_at_fpr:
        assert each.low <= each.fpr <= each.high


def test_members_are_those_with_the_smaller_loss():
    rng = np.random.default_rng(2)
    small, large = rng.exponential(1, 500), rng.exponential(3, 500)
    assert attack(small, large).auc > 0.6
    assert attack(large, small).auc < 0.4


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_tpr_at_fpr_by_brute_force(shift):
    rng = np.random.default_rng(3)
    held_in, held_out = rng.normal(0, 1, 1000), rng.normal(shift, 1, 1000)  # without ties
    for each in attack(held_in, held_out).tpr_at_fpr:
        thresholds = np.unique(np.concatenate([held_in, held_out, [-np.inf]]))
        allowed = [t for t in thresholds if (held_out <= t).mean() <= each.fpr]
        assert each.tpr == max((held_in <= t).mean() for t in allowed)
        assert each.low <= each.tpr <= each.high


def test_equal_losses_tell_nothing():
    report = attack(np.ones(20_000), np.ones(20_000))
    assert report.auc == 0.5
    assert all(each.tpr == pytest.approx(each.fpr, abs=0.004) for each in report.tpr_at_fpr)
    assert report.epsilon_lower_bound == 0.0


def test_roc_is_small_rises_and_has_the_area():
    rng = np.random.default_rng(4)
    report = attack(rng.normal(0, 1, 4000), rng.normal(1, 1, 4000))
    fpr, tpr = np.array(report.roc).T
    assert len(report.roc) <= 201
    assert report.roc[0] == (0.0, 0.0)
    assert report.roc[-1] == (1.0, 1.0)
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    assert np.trapezoid(tpr, fpr) == pytest.approx(report.auc, abs=2e-3)
    assert (fpr < 0.01).sum() >= 10  # enough of them where a plot on log axes begins


def test_report_is_json_and_says_what_it_assumes():
    report = attack(np.arange(10.0), np.arange(10.0) + 5)
    again = json.loads(json.dumps(dataclasses.asdict(report)))
    assert again["num_members"] == again["num_non_members"] == 10
    assert again["confidence"] == 0.95
    assert "certifies nothing" in report.assumptions
    assert "independent" in report.assumptions


def test_infinite_losses_are_ranked_and_equal_seeds_agree():
    held_in, held_out = [0.0, 1.0, 2.0, np.inf], [0.5, 3.0, np.inf, np.inf]
    assert attack(held_in, held_out).auc == pytest.approx((4 + 3 + 3 + 1) / 16)
    rng = np.random.default_rng(5)
    losses = rng.normal(size=(2, 100))
    assert attack(*losses) == attack(*losses)


@pytest.mark.parametrize(
    ("held_in", "held_out", "changes", "words"),
    [
        (np.zeros(5), np.zeros(6), {}, "must be as many, got 5 and 6"),
        (np.zeros(3), np.zeros(3), {}, r"held_in must be at least 4 losses \[n\], got \[3\]"),
        (np.zeros((4, 2)), np.zeros(4), {}, r"held_in must be at least 4 losses \[n\], got \[4, 2\]"),
        (np.zeros(4), np.array([0, 0, 0, np.nan]), {}, "held_out must not hold NaN"),
        (np.zeros(4), np.zeros(4), {"confidence": 1.0}, r"confidence must be in \(0, 1\), got 1.0"),
        (np.zeros(4), np.zeros(4), {"delta": 1.0}, r"delta must be in \[0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_judged_is_refused(held_in, held_out, changes, words):
    with pytest.raises(ValueError, match=words):
        attack(held_in, held_out, **changes)


def test_ties_at_the_top_are_broken_at_random():
    """Half of all losses are exactly 0, as a confident model's are: the attack still catches its share at 1 % FPR."""
    members, others = np.ones(20_000), np.ones(20_000)
    members[:12_000], others[:10_000] = 0, 0
    report = infer_membership(members, others, delta=0, rng=np.random.default_rng(3))
    # among the tied, members are 12 to 10: 1 % of others comes with 1.2 % of members (standard error about 0.11 %)
    assert report.tpr_at_fpr[1].tpr == pytest.approx(0.012, abs=0.004)
    assert report.tpr_at_fpr[1].tpr > 0  # without it: 0, whatever the model gives away
