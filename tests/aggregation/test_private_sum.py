"""The private sum: one client moves it by the bound at most, whatever it sends, and it is never to be had bare."""

import numpy as np
import pytest

from fedcomp.aggregation import AggregationError, PrivateSum
from fedcomp.arrays import l2_norm
from fedcomp.privacy import GaussianMechanism

LIKE = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}
QUIET = PrivateSum(GaussianMechanism(2.0, 0.0), 0.25, clips=True)
NOISY = PrivateSum(GaussianMechanism(2.0, 3.0), 0.25, clips=True)


def update(length, seed=0):
    rng = np.random.default_rng(seed)
    raw = {name: rng.standard_normal(array.shape) for name, array in LIKE.items()}
    return {name: (array * (length / l2_norm(raw))).astype(np.float32) for name, array in raw.items()}


def released(aggregator, updates, seed=0):
    state = aggregator.init(LIKE)
    for one in updates:
        state = aggregator.accumulate(state, one)
    return aggregator.release(state, np.random.default_rng(seed))


@pytest.mark.parametrize("length", [0.0, 1.0, 2.0, 1e3, 1e18])
def test_a_decoded_update_is_clipped_again(length):
    others = [update(1.5, seed) for seed in range(1, 4)]
    without, with_it = released(QUIET, others), released(QUIET, [*others, update(length)])
    moved = {name: (with_it[name].astype(np.float64) - without[name]) / QUIET.factor for name in LIKE}
    assert l2_norm(moved) == pytest.approx(min(length, 2.0), rel=1e-5)
    assert l2_norm(moved) <= 2.0 * (1 + 1e-6)  # what is released is rounded to float32


def test_the_noise_is_that_of_the_mechanism_and_an_empty_round_has_it_too():
    like = {"a": np.zeros(20_000, np.float32)}
    found = NOISY.release(NOISY.init(like), np.random.default_rng(7))["a"]
    assert found.std() == pytest.approx(2.0 * 3.0 * 0.25, rel=0.03)
    assert abs(found.mean()) < 5 * 1.5 / np.sqrt(20_000)


def test_the_order_of_updates_changes_nothing():
    updates = [update(0.1 * (seed + 1), seed) for seed in range(20)]
    forward, backward = released(NOISY, updates), released(NOISY, updates[::-1])
    assert all(np.array_equal(forward[name], backward[name]) for name in LIKE)


def test_a_trusted_sum_is_taken_as_it_is():
    trusting = PrivateSum(GaussianMechanism(2.0, 0.0), 0.25, clips=False)
    found = released(trusting, [update(50.0), update(50.0)])
    assert l2_norm(found) == pytest.approx(0.25 * 100.0, rel=1e-5)
    with pytest.raises(AggregationError, match="expected sums up to"):
        released(trusting, [update(1e30)])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_cannot_be_counted_is_refused_and_leaves_the_sum_alone(bad):
    broken = update(1.0)
    broken["b"][2] = bad
    state = QUIET.init(LIKE)
    with pytest.raises(AggregationError, match="'b'"):
        QUIET.accumulate(state, broken)
    with pytest.raises(AggregationError, match="another weight"):
        QUIET.accumulate(state, update(1.0), 2)
    with pytest.raises(AggregationError):
        QUIET.accumulate(state, {"a": LIKE["a"]})
    assert l2_norm(QUIET.release(state, np.random.default_rng(0))) == 0


def test_there_is_no_way_to_the_sum_without_noise():
    assert not hasattr(NOISY, "finish")
