"""Ranges of activations: exact, whatever the number of rows, and percentiles cut the tails."""

import numpy as np
import pytest
from onnx_graphs import graph, normal, perceptron

from fedcomp.runtimes.onnx_calibration import activation_ranges


def doubling() -> bytes:
    nodes = [("Mul", ["input", "two"], "double", {}), ("Relu", ["double"], "output", {})]
    return graph(nodes, {"two": np.float32(2)}, [10])


def test_lowest_and_highest_over_all_rows():
    rows = normal(0, 75, 10)  # more than one piece, and a last one that is smaller
    found = activation_ranges(doubling(), ["input", "double", "output"], rows)
    assert found["input"] == (rows.min(), rows.max())
    assert found["double"] == (2 * rows.min(), 2 * rows.max())
    assert found["output"] == (0.0, 2 * rows.max())


@pytest.mark.parametrize(("percentile", "beyond"), [(99.0, 5), (90.0, 50), (99.999, 0)])
def test_a_percentile_leaves_half_of_the_rest_on_each_side(percentile, beyond):
    rows = np.random.default_rng(1).permutation(1000).astype(np.float32).reshape(100, 10)
    ((low, high),) = activation_ranges(doubling(), ["input"], rows, percentile).values()
    assert (low, high) == (beyond, 999 - beyond)


def test_an_outlier_is_cut():
    rows = normal(0, 64, 10)
    rows[40, 3] = 1e6
    (ends,) = activation_ranges(doubling(), ["double"], rows, 99.0).values()
    assert ends[1] < 10


def test_nothing_asked_and_no_percentile():
    assert activation_ranges(perceptron(), [], normal(0, 2, 8)) == {}
    for wrong in (50.0, 101.0):
        with pytest.raises(ValueError, match=r"percentile must be in \(50, 100\]"):
            activation_ranges(perceptron(), ["input"], normal(0, 2, 8), wrong)
