"""Slices of a model: what they take, and what they refuse."""

import numpy as np
import pytest

from fedcomp.aggregation import Slices
from fedcomp.arrays import ArraysError

WHOLE = {"a": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array(7.0)}
SLICES = Slices({"a": (np.array([0, 1]), np.array([0, 3])), "b": ()})


def test_the_places_of_each_axis_are_taken():
    found = SLICES.take(WHOLE)
    assert found["a"].tolist() == [[0, 3], [4, 7]]
    assert found["b"] == 7
    assert list(found) == ["a", "b"]
    assert [SLICES.shape(name) for name in found] == [array.shape for array in found.values()] == [(2, 2), ()]


def test_what_is_taken_is_a_copy():
    found = SLICES.take(WHOLE)
    found["a"][:] = -1
    assert WHOLE["a"].min() == 0


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"c": np.zeros(3)}, r"named \['a', 'b'\], got 'c'"),
        ({"a": np.zeros((3, 3))}, r"'a': expected a shape of at least \[2, 4\], got \[3, 3\]"),
        ({"a": np.zeros(3)}, r"'a': expected a shape of at least \[2, 4\], got \[3\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(arrays, said):
    with pytest.raises(ArraysError, match=said):
        SLICES.take(arrays)
