"""Every aggregator keeps the contract; naive ones are caught not keeping it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contracts import aggregator_suite as suite
from fedcomp.aggregation import AggregationError, Aggregator, ExampleWeightedMean, UniformMean, WidthMean
from fedcomp.arrays import Array, Arrays, ArraysError, check_alike

AGGREGATORS = [UniformMean(), ExampleWeightedMean(), WidthMean(())]
SHAPES = {"scalar": (), "vector": (3,), "matrix": (2, 2), "empty": (0, 4)}
DTYPES = {"scalar": np.float32, "vector": np.float32, "matrix": np.float64, "empty": np.float16}


@pytest.fixture(params=AGGREGATORS, ids=lambda aggregator: type(aggregator).__name__)
def aggregator(request: pytest.FixtureRequest) -> Aggregator[Any]:
    return request.param


@dataclass(frozen=True)
class RunningFloats:
    """Control: a mean as everybody writes it, in the update's own floats."""

    total: dict[str, Array] = field(default_factory=dict)
    weight: int = 0

    def init(self, like: Arrays) -> "RunningFloats":
        return RunningFloats({name: np.zeros_like(array) for name, array in like.items()})

    def accumulate(self, state: "RunningFloats", update: Arrays, num_examples: int = 1) -> "RunningFloats":
        total = {name: array + update[name] * array.dtype.type(num_examples) for name, array in state.total.items()}
        return replace(state, total=total, weight=state.weight + num_examples)

    def finish(self, state: "RunningFloats") -> dict[str, Array]:
        return {name: np.asarray(array / array.dtype.type(state.weight)) for name, array in state.total.items()}


class Hoarder:
    """Control: keeps every update until the end."""

    def init(self, like: Arrays) -> list[Arrays]:
        return []

    def accumulate(self, state: list[Arrays], update: Arrays, num_examples: int = 1) -> list[Arrays]:
        return [*state, update]

    def finish(self, state: list[Arrays]) -> dict[str, Array]:
        return {name: np.mean([update[name] for update in state], axis=0) for name in state[0]}


@st.composite
def rounds(draw: st.DrawFn, *, weighted: bool = True) -> list[suite.Weighted]:
    updates = []
    for _ in range(draw(st.integers(1, 5))):
        update = {
            name: draw(hnp.arrays(dtype, SHAPES[name], elements=st.floats(-1e4, 1e4, width=16)))
            for name, dtype in DTYPES.items()
        }
        scaled = {
            name: array * array.dtype.type(draw(st.sampled_from([1e-6, 1 / 3, 1]))) for name, array in update.items()
        }
        updates.append(({name: np.asarray(array) for name, array in scaled.items()}, draw(st.integers(1, 40))))
    return updates if weighted else [(update, 1) for update, _ in updates]


@settings(max_examples=40, deadline=None)
@given(rounds(), st.randoms(use_true_random=False))
def test_arrival_order_never_changes_a_bit(updates, random):
    order = list(range(len(updates)))
    random.shuffle(order)
    assert not suite.arrival_order_matters(ExampleWeightedMean(), updates, order)
    assert not suite.arrival_order_matters(UniformMean(), [(update, 1) for update, _ in updates], order)


def test_a_mean_in_floats_is_caught_by_its_order(aggregator):
    updates = [({"a": np.float32([value])}, 1) for value in (1e5, 1e-3, -1e5)]
    assert suite.arrival_order_matters(RunningFloats(), updates, [0, 2, 1])
    assert not suite.arrival_order_matters(aggregator, updates, [0, 2, 1])


@settings(max_examples=40, deadline=None)
@given(rounds())
def test_the_mean_is_right_to_a_grid_step_and_the_dtypes_rounding(updates):
    peak = max(float(np.max(np.abs(array), initial=0)) for update, _ in updates for array in update.values())
    bound = 2.0**-40 + peak * 2.0**-24  # the sum's grid, and the last rounding to float32
    assert suite.distance_to_mean(ExampleWeightedMean(), updates) <= bound
    assert suite.distance_to_mean(UniformMean(), [(update, 1) for update, _ in updates]) <= bound


def test_in_float64_the_mean_is_right_to_the_grid_alone(aggregator):
    rng = np.random.default_rng(0)
    updates = [({"a": rng.standard_normal(1000)}, 1) for _ in range(20)]
    assert suite.distance_to_mean(aggregator, updates) <= 2.0**-40
    assert (
        suite.distance_to_mean(RunningFloats(), [({"a": u["a"].astype(np.float32)}, 1) for u, _ in updates]) > 2.0**-40
    )


def test_weights_are_numbers_of_examples():
    updates = [({"a": np.float32([1])}, 1), ({"a": np.float32([5])}, 3)]
    assert suite.aggregate(ExampleWeightedMean(), updates[0][0], updates)["a"].tolist() == [4]


def test_names_shapes_and_dtypes_come_back(aggregator):
    like = {name: np.asarray(np.ones(shape, DTYPES[name])) for name, shape in SHAPES.items()}
    found = suite.aggregate(aggregator, like, [(like, 1)] * 3)
    check_alike(like, found)
    assert suite.bits(found) == suite.bits(like)
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_an_update_is_not_changed_and_not_kept(aggregator):
    update = {"a": np.ones(2, np.float32)}
    state = aggregator.accumulate(aggregator.init(update), update, 1)
    update["a"][:] = 7
    assert aggregator.finish(state)["a"].tolist() == [1, 1]


def test_nothing_to_aggregate_is_refused(aggregator):
    with pytest.raises(AggregationError, match="expected at least one update to aggregate, got none"):
        aggregator.finish(aggregator.init({"a": np.ones(2, np.float32)}))


def test_an_unchanged_model_counts_as_a_participant(aggregator):
    """Row 4 of what others got wrong: a norm of zero must neither crash the round nor drop out of the mean."""
    like = {"a": np.zeros(2, np.float32)}
    updates = [(like, 1), ({"a": np.full(2, 4, np.float32)}, 1)]
    assert suite.aggregate(aggregator, like, updates)["a"].tolist() == [2, 2]


GOOD = {"a": np.float32([1, 2]), "b": np.float32(3) * np.ones((), np.float32)}
BAD_UPDATES = {
    "NaN": ({**GOOD, "b": np.array(np.nan, np.float32)}, "'b': expected finite values, got NaN or infinity"),
    "infinity": ({**GOOD, "a": np.float32([1, np.inf])}, "'a': expected finite values"),
    "integers": ({**GOOD, "a": np.array([1, 2])}, r"'a': expected float32\[2\], got int64\[2\]"),
    "shape": ({**GOOD, "a": np.float32([1])}, r"'a': expected float32\[2\], got float32\[1\]"),
    "would broadcast": ({**GOOD, "b": np.float32([3])}, r"'b': expected float32\[\], got float32\[1\]"),
    "dtype": ({**GOOD, "a": np.float64([1, 2])}, r"'a': expected float32\[2\], got float64\[2\]"),
    "missing": ({"a": GOOD["a"]}, r"named \['a', 'b'\], got \['a'\]"),
    "unknown": ({**GOOD, "c": GOOD["a"]}, r"got \['a', 'b', 'c'\]"),
    "other order": ({"b": GOOD["b"], "a": GOOD["a"]}, r"got \['b', 'a'\]"),
    "too large": ({**GOOD, "a": np.float32([1, -1e30])}, "must sum to at most 4.19e.06 in a round, got 1e.30"),
}


@pytest.mark.parametrize("fault", BAD_UPDATES)
def test_a_bad_update_is_refused_by_name_and_changes_nothing(aggregator, fault):
    bad, said = BAD_UPDATES[fault]
    good = {name: np.asarray(array) for name, array in GOOD.items()}
    state = aggregator.accumulate(aggregator.init(good), good, 1)
    with pytest.raises(AggregationError, match=said):
        aggregator.accumulate(state, bad, 1)
    state = aggregator.accumulate(state, {name: np.asarray(array * 3) for name, array in good.items()}, 1)
    assert suite.bits(aggregator.finish(state)) == suite.bits({n: np.asarray(a * 2) for n, a in good.items()})


def test_integers_in_the_model_are_refused_by_name(aggregator):
    like = {"weight": np.ones(2, np.float32), "num_batches_tracked": np.array(3)}
    with pytest.raises(AggregationError, match="'num_batches_tracked': expected floating point values, got int64"):
        aggregator.accumulate(aggregator.init(like), like, 1)


def test_a_sum_that_would_overflow_is_refused_not_wrapped(aggregator):
    """Row 11 of what others got wrong: a saturated sum is a wrong model without a word."""
    like = {"a": np.zeros(1, np.float64)}
    large = {"a": np.float64([2.0**20])}
    state = aggregator.init(like)
    for _ in range(4):
        state = aggregator.accumulate(state, large, 1)
    with pytest.raises(AggregationError, match="must sum to at most"):
        aggregator.accumulate(state, large, 1)
    assert aggregator.finish(state)["a"].tolist() == [2.0**20]
    with np.errstate(over="ignore"):
        wrapped = sum(np.rint(large["a"] * 2**40).astype(np.int64) for _ in range(8))
    assert wrapped[0] < 0, "the control: eight of them wrap to a negative number"


def test_cancelling_updates_cannot_hide_an_overflow(aggregator):
    like = {"a": np.zeros(1, np.float64)}
    state = aggregator.init(like)
    for sign in (1, -1, 1, -1):
        state = aggregator.accumulate(state, {"a": np.float64([sign * 2.0**20])}, 1)
    with pytest.raises(AggregationError, match="must sum to at most"):
        aggregator.accumulate(state, {"a": np.float64([2.0**20])}, 1)


@pytest.mark.parametrize("num_examples", [0, 2, 5000, -1, 10**400])
def test_a_weighted_private_mean_cannot_be_built(num_examples):
    """Row 3 of what others got wrong: a client of 5,000 examples has many times the assumed sensitivity."""
    mean, update = UniformMean(), {"a": np.float32([1])}
    state = mean.accumulate(mean.init(update), update)
    with pytest.raises(AggregationError, match="num_examples must be 1 in a uniform mean"):
        mean.accumulate(state, {"a": np.float32([9])}, num_examples)
    assert mean.finish(state)["a"].tolist() == [1]


@pytest.mark.parametrize("num_examples", [0, -1, 2**32 + 1, 10**400])
def test_an_impossible_number_of_examples_is_refused(num_examples):
    """A client states it: one that nobody can hold must neither mute the others nor end the round."""
    mean, update = ExampleWeightedMean(), {"a": np.float32([1])}
    state = mean.accumulate(mean.init(update), update, 3)
    with pytest.raises(AggregationError, match="num_examples must be in"):
        mean.accumulate(state, {"a": np.float32([0])}, num_examples)
    assert mean.finish(state)["a"].tolist() == [1]


def test_one_update_is_in_memory_at_a_time(aggregator):
    size = 200_000
    few, many = suite.peak_bytes(aggregator, size, 2), suite.peak_bytes(aggregator, size, 20)
    assert many - few < 4 * size, "less than one more update"
    assert suite.peak_bytes(Hoarder(), size, 20) > 20 * 4 * size, "the control: an aggregator that keeps them all"


def test_a_refusal_tells_where_it_came_from(aggregator):
    update = {"a": np.float32([np.nan])}
    with pytest.raises(AggregationError) as caught:
        aggregator.accumulate(aggregator.init(update), update, 1)
    assert isinstance(caught.value.__cause__, ArraysError)
