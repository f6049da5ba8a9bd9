"""Rounding never makes a guarantee look stronger or a leak look smaller."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.report import bounds


@settings(deadline=None, max_examples=200)
@given(st.floats(0, 1e4))
def test_epsilon_is_rounded_up_and_a_lower_bound_down(value):
    assert value <= float(bounds.epsilon(value)) < value + 0.0101
    assert value - 0.0101 < float(bounds.epsilon(value, lower_bound=True)) <= value


def test_rounding_to_the_nearest_would_have_flattered():
    assert f"{2.981:.2f}" == "2.98"  # the wrong variant: less than was spent
    assert bounds.epsilon(2.981) == "2.99"
    assert bounds.epsilon(2.99) == "2.99"


@pytest.mark.parametrize("value", [None, math.inf, math.nan])
def test_no_guarantee_is_never_a_number(value):
    assert "none: no privacy is claimed" in bounds.epsilon(value)
    assert not any(c.isdigit() for c in bounds.epsilon(value))


def test_a_lower_bound_that_was_not_found():
    assert bounds.epsilon(None, lower_bound=True) == "none found"
    assert bounds.epsilon(math.inf, lower_bound=True) == "infinite"


def test_a_bounding_share_is_rounded_up():
    assert bounds.percent(0.19701) == "19.8 %"
    assert bounds.percent(1.0) == "100.0 %"


@pytest.mark.parametrize(("value", "text"), [(1e-5, "1e-5"), (1e-10, "1e-10"), (0.01, "0.01"), (2.5e-6, "2.5e-6")])
def test_delta(value, text):
    assert bounds.delta(value) == text
