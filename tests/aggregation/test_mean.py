"""The exact mean: what its grid can and cannot hold."""

import numpy as np
import pytest

from fedcomp.aggregation import AggregationError, ExampleWeightedMean, UniformMean
from fedcomp.aggregation.mean import FRACTION_BITS


def mean_of(*values: float, dtype: type = np.float64) -> float:
    mean, like = UniformMean(), {"a": np.zeros((), dtype)}
    state = mean.init(like)
    for value in values:
        state = mean.accumulate(state, {"a": np.array(value, dtype)})
    return float(mean.finish(state)["a"])


def test_values_are_rounded_to_the_grid_to_even():
    step = 2.0**-FRACTION_BITS
    assert mean_of(step) == step
    assert mean_of(0.25 * step) == 0
    assert mean_of(0.75 * step) == step
    assert mean_of(0.5 * step) == 0
    assert mean_of(1.5 * step) == 2 * step


def test_the_mean_of_equal_updates_is_that_update():
    assert [mean_of(*[1.0] * count) for count in range(1, 60)] == [1.0] * 59
    assert 49 * (1 / 49) != 1, "the control: multiplying by the reciprocal rounds twice"


def test_the_largest_sum_that_fits_is_exact():
    assert mean_of(2.0**21, 2.0**21) == 2.0**21
    assert mean_of(2.0**21 - 2.0**-30, 2.0**21 - 2.0**-30) == 2.0**21 - 2.0**-30
    with pytest.raises(AggregationError, match="must sum to at most"):
        mean_of(2.0**21, 2.0**21, 2.0**-20)


def test_a_weight_counts_against_the_limit():
    mean, update = ExampleWeightedMean(), {"a": np.float32([1024])}
    state = mean.init(update)
    with pytest.raises(
        AggregationError, match=r"values times weights must sum to at most 4.19e\+06 in a round, got 1.02e\+07"
    ):
        mean.accumulate(state, update, 10_000)
    assert mean.finish(mean.accumulate(state, update, 4096))["a"].tolist() == [1024]


def test_half_precision_is_summed_without_overflow():
    assert mean_of(*[60000.0] * 8, dtype=np.float16) == 60000
    with np.errstate(over="ignore"):
        assert np.isinf(np.sum(np.full(8, 60000, np.float16)))


def test_an_empty_model_has_an_empty_mean():
    mean = UniformMean()
    assert mean.finish(mean.accumulate(mean.init({}), {})) == {}


def test_the_names_of_the_weightings_are_those_of_the_config():
    assert (UniformMean.weighting, ExampleWeightedMean.weighting) == ("uniform", "examples")
