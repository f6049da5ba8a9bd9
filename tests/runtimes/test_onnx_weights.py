"""Weights in fewer bits: known errors, known sizes, and outputs of an fp32 program."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import error, graph, normal, operators, perceptron, residual, stored

from fedcomp.runtimes.base import ExportError
from fedcomp.runtimes.onnx_session import onnx_program
from fedcomp.runtimes.onnx_weights import fixed_point, fixed_point_weights, half_weights, int4_weights

FLOATS = st.floats(-1e6, 1e6, width=32)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.sampled_from([8, 16]))
def test_fixed_point_is_off_by_half_a_step_and_its_step_is_the_smallest(values, bit_width):
    array = np.array(values, np.float32)
    integers, exponent = fixed_point(array, bit_width)
    largest = 2 ** (bit_width - 1) - 1
    assert integers.itemsize * 8 == bit_width
    assert (np.abs(integers * 2.0**exponent - array) <= 2.0 ** (exponent - 1)).all()
    if array.any() and exponent > -149:
        assert np.rint(np.abs(array.astype(np.float64)).max() * 2.0 ** (1 - exponent)) > largest


def test_fixed_point_of_known_numbers():
    integers, exponent = fixed_point(np.float32([0.75, -0.5, 0.0]), 8)
    assert (integers.tolist(), exponent) == ([96, -64, 0], -7)
    assert fixed_point(np.zeros((2, 2), np.float32), 16)[1] == 0


@pytest.mark.parametrize(
    ("change", "low", "high"),
    [
        (lambda content: half_weights(content, "float16"), 0, 1e-3),
        (lambda content: half_weights(content, "bfloat16"), 1e-4, 1e-2),
        (lambda content: fixed_point_weights(content, 16), 1e-6, 3e-4),
        (lambda content: fixed_point_weights(content, 8), 1e-3, 6e-2),
        (int4_weights, 1e-2, 0.2),
    ],
    ids=["float16", "bfloat16", "fixed16", "fixed8", "int4"],
)
@pytest.mark.parametrize(("make", "shape"), [(perceptron, (8,)), (residual, (2, 6, 6))])
def test_errors_are_those_of_the_format(change, low, high, make, shape):
    assert low < error(change(make()), make(), normal(5, 20, *shape)) < high


@pytest.mark.parametrize("number_format", ["float16", "bfloat16"])
def test_half_weights_are_exactly_the_rounded_ones(number_format):
    import ml_dtypes

    rows = np.eye(8, dtype=np.float32)
    content = graph([("MatMul", ["input", "w"], "output", {})], {"w": normal(0, 8, 4)}, [8])
    dtype = np.float16 if number_format == "float16" else ml_dtypes.bfloat16
    expected = normal(0, 8, 4).astype(dtype).astype(np.float32)
    np.testing.assert_array_equal(onnx_program(half_weights(content, number_format))(rows), expected)


def test_a_weight_beyond_float16_is_refused_by_name():
    content = graph([("MatMul", ["input", "w"], "output", {})], {"w": np.full((2, 2), 1e5, np.float32)}, [2])
    with pytest.raises(ExportError, match=r"weights w: expected values that float16 can hold, got 100000"):
        half_weights(content, "float16")
    assert onnx_program(half_weights(content, "bfloat16"))(np.ones((1, 2), np.float32)).shape == (1, 2)


def test_biases_stay_float32():
    kept = stored(half_weights(perceptron(), "float16"))
    assert kept["b"].dtype == np.float32
    assert {"w", "v"}.isdisjoint(kept)


def test_int4_takes_five_bits_a_weight():
    content = graph([("MatMul", ["input", "w"], "output", {})], {"w": normal(0, 256, 64)}, [256])
    changed = int4_weights(content)
    assert operators(changed) == ["MatMulNBits"]
    assert sum(values.nbytes for values in stored(changed).values()) == 256 * 64 * 5 // 8
    assert error(changed, content, normal(1, 9, 256)) < 0.12


def test_int4_of_whole_numbers_in_range_is_exact_at_odd_sizes():
    weights = np.random.default_rng(0).integers(-7, 8, (45, 3)).astype(np.float32)
    weights[0] = weights[32] = -8  # so that the scale of each block is one
    content = graph([("MatMul", ["input", "w"], "output", {})], {"w": weights}, [45])
    np.testing.assert_allclose(onnx_program(int4_weights(content))(np.eye(45, dtype=np.float32)), weights, atol=1e-5)


def test_int4_of_a_model_without_products():
    content = graph([("Conv", ["input", "w"], "output", {})], {"w": normal(0, 2, 2, 1, 1)}, [2, 3, 3])
    with pytest.raises(ExportError, match="int4-weight: expected a model with linear layers"):
        int4_weights(content)
