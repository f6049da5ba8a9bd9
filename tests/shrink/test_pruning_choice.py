import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.shrink.pruning.choice import choose
from fedcomp.shrink.pruning.groups import Group


def kept(scores, ratio, scope="layer", round_to=1, parts=1):
    groups = [Group(str(number), len(each), (), parts) for number, each in enumerate(scores)]
    return [list(each) for each in choose(groups, [np.array(each, float) for each in scores], ratio, scope, round_to)]


def test_the_best_stay_in_their_order_and_the_first_of_equals():
    assert kept([[1, 5, 2, 4]], 0.5) == [[1, 3]]
    assert kept([[1, 1, 1, 1]], 0.5) == [[0, 1]]


def test_each_part_keeps_its_own_best():
    assert kept([[9, 8, 7, 6, 1, 2, 3, 4]], 0.5, parts=2) == [[0, 1, 6, 7]]


@pytest.mark.parametrize(
    ("units", "ratio", "round_to", "count"),
    [
        (128, 0.7, 8, 40),
        (128, 0.5, 8, 64),
        (16, 0.9, 8, 8),
        (4, 0.5, 8, 4),
        (10, 0.05, 8, 8),
        (12, 0.0001, 8, 8),
        (20, 0.2, 8, 16),
    ],
)
def test_numbers_that_stay_are_the_nearest_multiples(units, ratio, round_to, count):
    assert len(kept([range(units)], ratio, round_to=round_to)[0]) == count


def test_global_scope_compares_groups_and_leaves_a_tenth_of_each():
    assert kept([[9, 8, 7, 6], [1, 2, 3, 4]], 0.25, "global") == [[0, 1, 2, 3], [2, 3]]
    assert [len(each) for each in kept([range(100, 120), range(20)], 0.5, "global")] == [20, 2]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1), min_size=8, max_size=64), min_size=1, max_size=4),
    st.floats(0.01, 0.99),
    st.sampled_from(["layer", "global"]),
    st.integers(1, 9),
)
def test_something_stays_and_nothing_twice(scores, ratio, scope, round_to):
    for each, stays in zip(scores, kept(scores, ratio, scope, round_to), strict=True):
        assert 1 <= len(stays) <= len(each)
        assert stays == sorted(set(stays))
        assert len(stays) % round_to == 0 or len(stays) == len(each)
        gone = set(range(len(each))) - set(stays)
        assert not gone or max(each[unit] for unit in gone) <= min(each[unit] for unit in stays)
