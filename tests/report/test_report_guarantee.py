"""The region that a guarantee leaves to an attacker, and files that contradict each other."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.report.guarantee import contradictions, example_guarantee, tpr_bound
from fedcomp.report.load import load_run


@settings(deadline=None, max_examples=200)
@given(st.floats(0, 1), st.floats(0, 50), st.floats(0, 1))
def test_the_bound_is_above_guessing_and_below_one(fpr, epsilon, delta):
    assert fpr - 1e-12 <= tpr_bound(fpr, epsilon, delta) <= 1


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_randomised_response_reaches_the_bound_where_its_roc_bends(epsilon):
    # It answers truly with chance e^eps / (1 + e^eps): the most that pure epsilon allows at that FPR.
    lie = 1 / (1 + math.exp(epsilon))
    assert tpr_bound(lie, epsilon, 0.0) == pytest.approx(1 - lie, abs=1e-12)


def test_the_gaussian_mechanism_stays_below():
    # Gaussian noise with standard deviation s on a sum of sensitivity 1; the exact delta from Balle and Wang (2018).
    s, epsilon = 1.0, 2.0
    cdf = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))
    delta = float(cdf(0.5 / s - epsilon * s) - math.exp(epsilon) * cdf(-0.5 / s - epsilon * s))
    thresholds = np.linspace(-6, 6, 200)
    for fpr, tpr in zip(cdf(-thresholds), cdf(1 / s - thresholds), strict=True):
        assert tpr <= tpr_bound(float(fpr), epsilon, delta) + 1e-9
    assert any(
        tpr > tpr_bound(float(f), epsilon, 0.0) for f, tpr in zip(cdf(-thresholds), cdf(1 - thresholds), strict=True)
    )


def test_a_huge_epsilon_bounds_nothing():
    assert tpr_bound(0.001, 1e6, 0.0) == 1.0
    assert tpr_bound(0.001, math.inf, 0.0) == 1.0


@pytest.mark.parametrize(
    ("fpr", "epsilon", "delta"), [(-0.1, 1, 0), (1.1, 1, 0), (0.5, -1, 0), (0.5, 1, 2), (0.5, math.nan, 0)]
)
def test_what_is_no_guarantee_is_refused(fpr, epsilon, delta):
    with pytest.raises(ValueError, match="must be"):
        tpr_bound(fpr, epsilon, delta)


def test_only_a_guarantee_for_examples_bounds_a_membership_attack(sample, tmp_path):
    assert example_guarantee(load_run(sample.write(tmp_path))) == (2.981, 1e-5)
    sample.summary["epsilon"]["unit"] = "client"
    assert example_guarantee(load_run(sample.write(tmp_path))) is None


def test_files_that_agree_say_nothing(sample, bare, tmp_path):
    assert contradictions(load_run(sample.write(tmp_path / "a"))) == []
    assert contradictions(load_run(bare.write(tmp_path / "b"))) == []


def _change(sample, what):
    if what == "rounds":
        sample.metrics.pop(1)
    elif what == "bytes":
        sample.summary["downlink_bytes"] += 1
    elif what == "unverified":
        sample.audit["ledger"]["verified"] = False
    elif what == "ledger":
        sample.audit["ledger"]["max_epsilon"] = 3.5
    elif what == "layers":
        sample.bytes["arrays"][0]["bytes"] += 1.2
    elif what == "payload":
        sample.bytes["downlink"]["stages"][-1]["bytes"] = 4_001
    else:
        sample.audit["student"]["epsilon_lower_bound"] = 3.2


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("rounds", "metrics.jsonl has 3 rounds, summary.json says 4"),
        ("bytes", "downlink bytes of all rounds add up to 16,000, summary.json says 16,001"),
        ("unverified", "could not be verified"),
        ("ledger", "The ledger holds epsilon 3.50"),
        ("layers", "The layers of the uplink's payload in bytes.json add up to 81 bytes, not 80"),
        ("payload", "The downlink's payload in bytes.json is larger than all that the last round sent"),
        ("attack", "attack on the student model shows epsilon of at least 3.20"),
    ],
)
def test_each_contradiction_is_told(sample, tmp_path, what, told):
    _change(sample, what)
    assert told in " ".join(contradictions(load_run(sample.write(tmp_path))))


def test_a_torn_line_is_told(sample, tmp_path):
    path = sample.write(tmp_path) / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert "cut off" in contradictions(load_run(tmp_path))[0]


def test_bytes_of_layers_may_differ_by_their_rounding(sample, tmp_path):
    sample.bytes["arrays"] = [{"array": f"layer.{index}", "values": 1, "bytes": 2.05} for index in range(40)]
    assert contradictions(load_run(sample.write(tmp_path))) == []  # 82 and not 80


def test_no_other_round_stands_in_for_a_last_one_that_is_torn(sample, tmp_path):
    for row in sample.metrics[:-1]:
        row["uplink_bytes"] = 10
    path = sample.write(tmp_path) / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    assert not any("bytes.json" in notice for notice in contradictions(load_run(tmp_path)))
