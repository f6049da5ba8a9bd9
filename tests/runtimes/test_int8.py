"""8-bit numbers: what they hold exactly, and how far from the rest they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomp.runtimes.int8 import LARGEST_FACTOR, bias_floor, signed_channels, unsigned_range

FLOATS = st.floats(-1e6, 1e6, width=32)


def test_weights_of_known_scales_come_back_exactly():
    weights = np.array([[127.0, -127.0, 1.0], [0.5, -63.5, 0.0]], np.float32)
    integers, scales = signed_channels(weights, axis=0, largest=127)
    np.testing.assert_array_equal(scales, np.array([1.0, 0.5], np.float32))
    np.testing.assert_array_equal(integers, [[127, -127, 1], [1, -127, 0]])
    assert integers.dtype == np.int8


def test_two_products_fit_the_sixteen_bits_that_processors_without_vnni_add_them_in():
    weights = np.random.default_rng(0).standard_normal((5, 40)).astype(np.float32)
    integers, _ = signed_channels(weights, 0)
    assert np.abs(integers).max() == LARGEST_FACTOR
    assert 2 * 255 * LARGEST_FACTOR < 2**15


@given(st.lists(FLOATS, min_size=6, max_size=6), st.sampled_from([0, 1]))
def test_a_weight_is_off_by_half_a_step_of_its_channel(values, axis):
    weights = np.array(values, np.float32).reshape(2, 3)
    integers, scales = signed_channels(weights, axis)
    steps = np.expand_dims(scales, 1 - axis)
    assert scales.shape == (weights.shape[axis],)
    assert (np.abs(integers * steps.astype(np.float64) - weights) <= steps * 0.5001).all()


def test_a_channel_of_zeros_has_a_scale():
    integers, scales = signed_channels(np.zeros((2, 3), np.float32), 0)
    assert not integers.any()
    np.testing.assert_array_equal(scales, [1.0, 1.0])


@given(FLOATS, FLOATS)
def test_an_unsigned_range_holds_zero_exactly_and_its_ends_within_a_step(one, other):
    low, high = min(one, other), max(one, other)
    scale, zero = unsigned_range(low, high)
    ends = np.array([low, high, 0.0])
    rounded = (np.clip(np.rint(ends / float(scale)) + int(zero), 0, 255) - int(zero)) * float(scale)
    assert rounded[2] == 0.0
    assert (np.abs(rounded - ends) <= 1.001 * float(scale)).all()


def test_a_range_of_nothing_still_divides():
    assert unsigned_range(0.0, 0.0) == (np.float32(1), np.uint8(0))


def test_a_bias_behind_weights_of_zero_survives():
    bias = np.array([0.25, -3.0], np.float32)
    input_scale = np.float32(0.01)
    _, scales = signed_channels(np.zeros((2, 4), np.float32), 0, bias_floor(bias, input_scale))
    steps = scales.astype(np.float64) * float(input_scale)
    whole = np.rint(bias / steps)
    assert (np.abs(whole) < 2**31).all()
    assert whole * steps == pytest.approx(bias, rel=1e-6)
