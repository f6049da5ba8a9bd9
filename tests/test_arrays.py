"""The algebra of named arrays keeps names, shapes and dtypes, and refuses by name."""

import hashlib

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.arrays import (
    Arrays,
    ArraysError,
    add,
    check_alike,
    check_finite,
    digest,
    fp32_bytes,
    l2_norm,
    num_values,
    scale,
    subtract,
    zeros_like,
)

FLOATS = st.sampled_from([np.float16, np.float32, np.float64])


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Arrays, Arrays]:
    """Two sets of arrays that fit each other; small integers, so that the algebra is exact."""
    left, right = {}, {}
    for name in draw(st.lists(st.text(max_size=4), max_size=3, unique=True)):
        dtype, shape = draw(FLOATS), draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
        for side in (left, right):
            side[name] = draw(hnp.arrays(np.int8, shape)).astype(dtype)
    return left, right


def equal(left: Arrays, right: Arrays) -> bool:
    check_alike(left, right)
    return all(np.array_equal(array, right[name]) for name, array in left.items())


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_algebra_is_exact_and_keeps_names_shapes_and_dtypes(pair):
    left, right = pair
    assert equal(subtract(add(left, right), right), left)
    assert equal(add(left, zeros_like(left)), left)
    assert equal(scale(left, 2.0), add(left, left))
    for result in (add(left, right), subtract(left, right), scale(left, 0.5), zeros_like(left)):
        check_alike(left, result)
        assert all(isinstance(array, np.ndarray) for array in result.values())


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_sizes_and_norm_are_those_of_one_long_vector(pair):
    left, _ = pair
    vector = np.concatenate([np.empty(0), *(array.ravel().astype(np.float64) for array in left.values())])
    assert l2_norm(left) == pytest.approx(float(np.linalg.norm(vector)), rel=1e-12)
    assert num_values(left) == vector.size
    assert fp32_bytes(left) == 4 * vector.size


def test_norm_of_half_precision_does_not_overflow():
    values = np.full(4, 60000, np.float16)
    assert l2_norm({"a": values}) == 120000
    with np.errstate(over="ignore"):
        assert np.isinf(np.sqrt(np.sum(np.square(values))))  # the variant that squares in the array's own dtype


def test_nothing_is_changed_in_place():
    left, right = {"a": np.ones(2)}, {"a": np.full(2, 3.0)}
    add(left, right), subtract(left, right), scale(left, 5.0)
    assert left["a"].tolist() == [1, 1]
    assert right["a"].tolist() == [3, 3]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"b": np.ones(2, np.float32)}, r"named \['a'\], got \['b'\]"),
        ({}, r"named \['a'\], got \[\]"),
        ({"a": np.ones(2, np.float32), "b": np.ones(1)}, r"got \['a', 'b'\]"),
        ({"a": np.ones(3, np.float32)}, r"'a': expected float32\[2\], got float32\[3\]"),
        ({"a": np.ones((2, 1), np.float32)}, r"'a': expected float32\[2\], got float32\[2, 1\]"),
        ({"a": np.ones(2, np.float64)}, r"'a': expected float32\[2\], got float64\[2\]"),
        ({"a": np.ones(2, ">f4")}, r"'a': expected float32\[2\], got >f4\[2\]"),
    ],
)
@pytest.mark.parametrize("operation", [check_alike, add, subtract])
def test_what_does_not_fit_is_refused_by_name(operation, other, said):
    with pytest.raises(ArraysError, match=said):
        operation({"a": np.ones(2, np.float32)}, other)


def test_order_of_names_counts():
    with pytest.raises(ArraysError, match=r"\['a', 'b'\], got \['b', 'a'\]"):
        check_alike({"a": np.ones(1), "b": np.ones(1)}, {"b": np.ones(1), "a": np.ones(1)})


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.ones(2, np.int64), "'bad': expected floating point values, got int64"),
        (np.ones(2, np.bool_), "'bad': expected floating point values, got bool"),
        (np.array([1, np.nan]), "'bad': expected finite"),
        (np.array(np.inf, np.float32), "'bad': expected finite"),
        (np.array([[-np.inf]], np.float16), "'bad': expected finite"),
    ],
)
def test_what_cannot_be_averaged_is_refused_by_name(array, said):
    check_finite({"good": np.ones(1, np.float16)})
    with pytest.raises(ArraysError, match=said):
        check_finite({"good": np.ones(1), "bad": array})


def test_integers_are_not_scaled_to_zero():
    with pytest.raises(ArraysError, match="'steps': expected floating point values, got int64"):
        scale({"steps": np.array([7])}, 0.5)


def _variants() -> dict[str, Arrays]:
    base = np.arange(6, dtype=np.float32)
    return {
        "base": {"a": base, "b": base},
        "renamed": {"a": base, "c": base},
        "reordered": {"b": base, "a": base},
        "reshaped": {"a": base.reshape(2, 3), "b": base},
        "other dtype, same bytes": {"a": base.view(np.int32), "b": base},
        "one bit": {"a": np.nextafter(base, 9, dtype=np.float32), "b": base},
        "minus zero": {"a": np.where(base == 0, np.float32(-0.0), base), "b": base},
        "fewer": {"a": base},
        "none": {},
    }


def test_digests_are_equal_exactly_for_equal_arrays():
    digests = {name: digest(arrays) for name, arrays in _variants().items()}
    assert len(set(digests.values())) == len(digests)
    assert digests == {name: digest(arrays) for name, arrays in _variants().items()}
    base = np.arange(6, dtype=np.float32)
    strided = np.repeat(base, 2)[::2]
    assert digest({"a": strided, "b": base.astype(">f4")}) == digests["base"]


def test_digest_cannot_be_forged_by_a_name():
    zero, two = np.float32([0]), np.float32([2])
    honest, forged = {"a": zero, "b": two}, {"a\0float32\0(1,)\0\0\0\0\0b": two}

    def joined_by_separators(arrays: Arrays) -> str:
        parts = (f"{n}\0{a.dtype.name}\0{a.shape}\0".encode() + a.tobytes() for n, a in arrays.items())
        return hashlib.sha256(b"".join(parts)).hexdigest()

    assert joined_by_separators(honest) == joined_by_separators(forged)
    assert digest(honest) != digest(forged)
