import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomp.errors import DataError
from fedcomp.tasks.sources.pickle_tree import Made, pickle_tree

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Evil:
    """What every warning about pickles is about."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@given(VALUES, st.sampled_from([4, 5]))
def test_plain_values_come_back_as_they_were(value, protocol):
    assert pickle_tree(pickle.dumps(value, protocol=protocol)) == value


def test_a_value_that_occurs_twice_is_one_value():
    inner = [1]
    first, second = pickle_tree(pickle.dumps([inner, inner]))
    assert first is second


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_call_is_told_and_not_made(tmp_path, protocol):
    target = tmp_path / "made"
    tree = pickle_tree(pickle.dumps([Evil(target)], protocol=protocol))
    assert isinstance(tree[0], Made)
    assert tree[0].name == f"{os.name}.mkdir"
    assert tree[0].arguments == (str(target),)
    assert not target.exists()


def test_what_is_made_does_not_print_its_megabytes():
    made = pickle_tree(pickle.dumps(np.zeros(1000)))
    assert len(repr(made)) < 100


def test_a_class_has_its_state():
    tree = pickle_tree(pickle.dumps(np.dtype("<f4"), protocol=2))
    assert (tree.name, tree.arguments[0], tree.state[1]) == ("numpy.dtype", "f4", "<")


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b"", "not|exhausted"),
        (b"hello", "cannot be read"),
        (pickle.dumps([1, 2, 3])[:-1], "exhausted|cut off"),
        (b"\x80\x02]K\x01.", "cannot be read"),  # two values are left
        (b"\x80\x02a.", "cannot be read"),  # an element and no list
        (b"\x80\x02K\x01K\x02a.", "expected list to fill, got int"),
        (b"\x80\x02K\x01)R.", "a call of int with tuple"),
        (b"\x80\x02h\x05.", "cannot be read"),  # nothing was remembered there
        (b"\x80\x02}(K\x01u.", "a key without a value"),
        (b"\x80\x02}]K\x01s.", "unhashable"),
        (b"\x80\x02K\x01\x85\x86.", "a value is missing"),
        (pickle.dumps({1, 2}, protocol=4), "EMPTY_SET is not for tables and arrays"),
        (pickle.dumps(Path, protocol=0), "is not for tables and arrays"),
    ],
)
def test_what_is_no_pickle_of_data_is_refused(stream, message):
    with pytest.raises(DataError, match=message):
        pickle_tree(stream)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_flipped_byte_raises_nothing_but_data_error(place, value):
    stream = bytearray(pickle.dumps([np.arange(5), {"a": (1, 2.5, None)}], protocol=4))
    stream[place % len(stream)] = value
    try:
        tree = pickle_tree(bytes(stream))
    except DataError:
        return
    assert tree is None or isinstance(tree, int | float | str | bytes | bytearray | list | tuple | dict | Made)
