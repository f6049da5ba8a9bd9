"""Figures are shown in units that a person reads."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.report import units


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 KB"), (99_960, "100 KB"), (999_700, "1.00 MB"), (1.5e18, "1500 PB")],
)
def test_size(count, text):
    assert units.size(count) == text


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 10**17))
def test_a_size_is_within_one_percent_and_three_figures(count):
    number, unit = units.size(count).split()
    assert float(number) * 1000 ** ["B", "KB", "MB", "GB", "TB", "PB"].index(unit) == pytest.approx(count, rel=0.01)
    assert len(number.replace(".", "")) <= 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.00 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min")]
)
def test_duration(seconds, text):
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.0, "1.0 times fewer"), (1234.5, "1,234 times fewer"), (0.25, "4.0 times more"), (0, "not defined")],
)
def test_times(ratio, text):
    assert units.times(ratio) == text


def test_what_is_not_finite_is_said():
    assert units.percent(math.nan) == "not finite"
    assert units.times(math.inf) == "not defined"
