"""The mean over widths: each value over the clients that have it, whatever the order in which they answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import aggregator_suite as suite
from fedcomp.aggregation import AggregationError, ExampleWeightedMean, Slices, UniformMean, WidthMean
from fedcomp.arrays import ArraysError

LIKE = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.float32)}
HALF = Slices({"a": (np.array([0]), np.array([0, 2])), "b": ()})
QUARTER = Slices({"a": (np.array([0]), np.array([0])), "b": ()})


def update(value, slices=None):
    whole = {name: np.full_like(array, value) for name, array in LIKE.items()}
    return slices.take(whole) if slices else whole


def test_each_value_is_averaged_over_the_clients_that_have_it():
    found = suite.aggregate(
        WidthMean((HALF, QUARTER)), LIKE, [(update(2), 1), (update(4, HALF), 1), (update(9, QUARTER), 1)]
    )
    assert found["a"].tolist() == [[5, 2, 3], [2, 2, 2]]
    assert found["b"] == 5
    assert found["a"].dtype == np.float32


def test_a_value_that_nobody_has_stays():
    found = suite.aggregate(WidthMean((HALF,)), LIKE, [(update(4, HALF), 1), (update(6, HALF), 1)])
    assert found["a"].tolist() == [[5, 0, 5], [0, 0, 0]]


def test_examples_weigh_where_they_may():
    counted = [(update(2), 3), (update(6, HALF), 1)]
    assert suite.aggregate(WidthMean((HALF,), weighted=True), LIKE, counted)["a"].tolist() == [[3, 2, 3], [2, 2, 2]]
    with pytest.raises(AggregationError, match="num_examples must be 1"):
        suite.aggregate(WidthMean((HALF,)), LIKE, counted)


@pytest.mark.parametrize("weighted", [False, True])
def test_whole_updates_alone_give_the_plain_mean_to_the_bit(weighted):
    rng = np.random.default_rng(0)
    counted = [
        (
            {name: np.asarray(rng.normal(size=array.shape), np.float32) for name, array in LIKE.items()},
            1 + 2 * weighted * at,
        )
        for at in range(5)
    ]
    plain = ExampleWeightedMean() if weighted else UniformMean()
    found = suite.aggregate(WidthMean((HALF,), weighted), LIKE, counted)
    assert suite.bits(found) == suite.bits(suite.aggregate(plain, LIKE, counted))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.sampled_from([None, HALF, QUARTER])), min_size=1), st.data()
)
def test_the_order_of_arrival_never_changes_a_bit(sent, data):
    counted = [(update(value, slices), 1) for value, slices in sent]
    shuffled = data.draw(st.permutations(counted))
    mean = WidthMean((HALF, QUARTER))
    assert suite.bits(suite.aggregate(mean, LIKE, counted)) == suite.bits(suite.aggregate(mean, LIKE, shuffled))


def test_an_update_of_no_known_width_is_refused_and_changes_nothing():
    mean = WidthMean((HALF,))
    state = mean.accumulate(mean.init(LIKE), update(4, HALF))
    with pytest.raises(AggregationError, match=r"'a': expected float32\[2, 3\], got float32\[1, 1\]"):
        mean.accumulate(state, update(9, QUARTER))
    narrow = update(np.nan, HALF)
    with pytest.raises(AggregationError, match="'a': expected finite values"):
        mean.accumulate(state, narrow)
    assert mean.finish(state)["a"].tolist() == [[4, 0, 4], [0, 0, 0]]


def test_nothing_to_aggregate_is_refused():
    with pytest.raises(AggregationError, match="expected at least one update"):
        suite.aggregate(WidthMean((HALF,)), LIKE, [])


def test_slices_of_another_model_are_refused():
    with pytest.raises(ArraysError, match=r"'a': expected a shape of at least \[1, 3\], got \[2, 2\]"):
        WidthMean((HALF,)).init({"a": np.zeros((2, 2)), "b": np.zeros(())})
