"""Audits of one run: below the claim on the exact mechanism, above it on wrong ones, 0 where nothing is to be seen.

All seeded, and small: what the bounds reach at full size is measured by ``benchmarks.audit_power``.
"""

import dataclasses
import json
import math

import dp_accounting as dp
import numpy as np
import pytest
from scipy import stats

from fedcomp.audit.one_run import audit_one_run, canary_scores

DELTA = 1e-5
RATE, NOISE, ROUNDS, CANARIES = 0.3, 2.0, 20, 2000
BOUNDS = ("count", "f_dp", "gaussian_pair")


def claim(rate=RATE, noise=NOISE, rounds=ROUNDS):
    return [(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), rounds)]


def run(seed=0, rate=RATE, noise=NOISE, rounds=ROUNDS, canaries=CANARIES, norm=1.0):
    rng = np.random.default_rng(seed)
    held_in = rng.random(canaries) < 0.5
    included = rng.random((rounds, canaries)) < rate
    return noise * rng.standard_normal((rounds, canaries)) + norm * (included & held_in), held_in


def audit(observed, held_in, events=None, rate=RATE, noise=NOISE, delta=DELTA, **options):
    rng = np.random.default_rng(1)
    events = claim() if events is None else events
    return audit_one_run(
        observed, held_in, events, sampling_probability=rate, noise_multiplier=noise, delta=delta, rng=rng, **options
    )


def bounds(found) -> list[float]:
    return [getattr(found, name).epsilon_lower_bound for name in BOUNDS]


@pytest.mark.slow
def test_below_the_claim_and_not_far_below():
    """Anchors by 4 seeds at 2000 canaries: medians over theory, a fifth below what was measured."""
    found = [audit(*run(seed)) for seed in range(4)]
    assert not any(getattr(one, name).refuted for one in found for name in BOUNDS)
    medians = np.median([bounds(one) for one in found], axis=0) / found[0].epsilon_claimed
    assert (medians > [0.25, 0.35, 0.6]).all(), medians
    assert (medians < 1).all()


@pytest.mark.parametrize(
    ("wrong", "by"),
    [
        ({"noise": 0}, BOUNDS),
        ({"noise": NOISE / 2}, BOUNDS[2:]),
        ({"noise": NOISE / 3}, BOUNDS[1:]),
        ({"norm": 2.0}, BOUNDS[1:]),
        ({"rate": 1.0}, BOUNDS),
    ],
    ids=["no noise", "noise / 2", "noise / 3", "sensitivity x 2", "full batch"],
)
def test_a_wrong_mechanism_is_refuted(wrong, by):
    found = audit(*run(2, canaries=4000, **wrong))
    for name in by:
        bound = getattr(found, name)
        assert bound.refuted, (name, bound)
        assert bound.epsilon_lower_bound >= found.epsilon_claimed


def test_a_claim_that_forgot_earlier_rounds_is_refuted():
    found = audit(*run(3), events=claim(rounds=1))
    assert found.gaussian_pair.refuted
    assert found.f_dp.refuted


def test_without_effect_or_with_other_labels_there_is_no_bound():
    observed, held_in = run(4)
    for labels, seen in ((held_in, run(4, norm=0.0)[0]), (np.random.default_rng(5).permutation(held_in), observed)):
        found = audit(seen, labels)
        assert bounds(found) == [0.0, 0.0, 0.0]
    assert min(bounds(audit(observed, held_in))) > 0


@pytest.mark.parametrize("score", ["likelihood", "sum"])
def test_equal_scores_prove_nothing(score):
    found = audit(np.ones((3, 1000)), np.arange(1000) < 500, score=score)
    assert bounds(found) == [0.0, 0.0, 0.0]


def test_no_canaries_or_too_few():
    observed, held_in = run(6)
    for count in (0, 1, 5):
        found = audit(observed[:, :count], held_in[:count])
        assert bounds(found) == [0.0, 0.0, 0.0]
        assert found.num_canaries == count


def test_one_round_in_which_everyone_takes_part():
    """Rate 1 and one round, as for the final model alone: likelihood and sum then rank alike."""
    observed, held_in = run(7, rate=1.0, noise=1.0, rounds=1)
    options = {"events": [(dp.GaussianDpEvent(1.0), 1)], "rate": 1.0, "noise": 1.0}
    found = audit(observed, held_in, **options)
    assert found.epsilon_claimed == pytest.approx(4.377, abs=1e-3)
    assert 0.3 * found.epsilon_claimed < found.f_dp.epsilon_lower_bound < found.epsilon_claimed
    assert 0.7 * found.epsilon_claimed < found.gaussian_pair.epsilon_lower_bound < found.epsilon_claimed
    other = audit(observed, held_in, score="sum", **options)
    assert other.gaussian_pair == found.gaussian_pair
    assert other.count.epsilon_lower_bound == pytest.approx(found.count.epsilon_lower_bound, abs=0.4)


def test_claims_at_the_ends():
    observed, held_in = run(8)
    nothing = audit(observed, held_in, events=[])
    assert nothing.epsilon_claimed == 0
    assert nothing.f_dp.refuted
    everything = audit(observed, held_in, events=[(dp.NonPrivateDpEvent(), 1)])
    assert math.isinf(everything.epsilon_claimed)
    assert not any(getattr(everything, name).refuted for name in BOUNDS)


def test_scores_are_the_likelihood_ratio_and_do_not_overflow():
    observed, _ = run(9, canaries=50)
    inside = RATE * stats.norm.pdf(observed, 1, NOISE) + (1 - RATE) * stats.norm.pdf(observed, 0, NOISE)
    expected = np.log(inside / stats.norm.pdf(observed, 0, NOISE)).sum(axis=0)
    np.testing.assert_allclose(canary_scores(observed, RATE, NOISE), expected, atol=1e-12)
    far = canary_scores(np.array([[1e6, -1e6]]), 0.5, 0.01)
    assert np.isfinite(far).all()
    np.testing.assert_allclose(canary_scores(np.array([[2.0]]), 1.0, 0.5), [6.0])


def test_the_result_is_plain_data_with_its_assumptions():
    found = audit(*run(10, canaries=100))
    tree = json.loads(json.dumps(dataclasses.asdict(found)))
    assert tree["num_canaries"] == 100
    assert tree["alpha"] == 0.05
    assert all(len(tree[name]["assumptions"]) > 40 for name in BOUNDS)


def test_refusals_name_what_is_wrong():
    observed, held_in = run(11, canaries=100)
    for seen, labels, options, message in (
        (observed[0], held_in, {}, "observed must be"),
        (observed[:0], held_in, {}, "observed must be"),
        (observed, held_in[:5], {}, "held_in must be 100 booleans"),
        (observed, held_in.astype(int), {}, "held_in must be 100 booleans"),
        (observed * np.nan, held_in, {}, "observed must be finite"),
        (observed, np.ones(100, dtype=bool), {}, "held_in must be the tosses of a fair coin"),
        (observed, held_in, {"alpha": 0.0}, "alpha must be in"),
        (observed, held_in, {"score": "best"}, "score must be"),
        (observed, held_in, {"delta": 0.0}, "delta must be in"),
        (observed, held_in, {"rate": 0.0}, "sampling_probability must be in"),
        (observed, held_in, {"noise": 0.0}, "noise_multiplier must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            audit(seen, labels, **options)
