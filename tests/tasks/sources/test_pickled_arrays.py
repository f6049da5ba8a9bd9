import pickle

import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.sources.pickle_tree import Made, pickle_tree
from fedcomp.tasks.sources.pickled_arrays import pickled_array, pickled_table

ARRAYS = {
    "integers": np.arange(6, dtype=np.int64).reshape(2, 3),
    "one byte each": np.array([True, False]),
    "single precision": np.linspace(0, 1, 5, dtype=np.float32),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "not contiguous": np.arange(12.0).reshape(3, 4)[:, ::2],
    "no dimension": np.array(3.5),
    "objects": np.array(["a", None, 1.5], dtype=object),
}


def read(value, protocol=4):
    return pickled_array(pickle_tree(pickle.dumps(value, protocol=protocol)))


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_what_numpy_would_have_made(name, protocol):
    found = read(ARRAYS[name], protocol)
    assert found.dtype == ARRAYS[name].dtype
    np.testing.assert_array_equal(found, ARRAYS[name])


def test_names_of_numpy_1_are_known():
    tree = pickle_tree(pickle.dumps(np.arange(3), protocol=4))
    assert tree.name == "numpy._core.multiarray._reconstruct"
    tree.name = "numpy.core.multiarray._reconstruct"
    assert pickled_array(tree).tolist() == [0, 1, 2]


def test_arrays_in_an_array_of_objects_are_made_too():
    outer = np.empty(2, dtype=object)
    outer[0], outer[1] = np.arange(3), np.ones((2, 2))
    first, second = read(outer)
    assert first.tolist() == [0, 1, 2]
    assert second.shape == (2, 2)


@pytest.mark.parametrize("kind", ["U3", "S3", "M8[s]", ">i4", "c16", [("a", "i4")]])
def test_other_types_are_refused(kind):
    with pytest.raises(DataError, match="expected a pickled type of"):
        read(np.zeros(2, dtype=kind))


def test_what_is_no_array_is_refused():
    with pytest.raises(DataError, match="expected a pickled array, got list"):
        pickled_array([1, 2])
    with pytest.raises(DataError, match=r"expected a pickled array, got os\.system"):
        pickled_array(Made("os.system", ("true",)))


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\0" * 16, r"expected 3 elements of an array \[3\], got 2"), ("text", "expected the bytes of a int64 array")],
)
def test_data_that_does_not_fill_the_shape_is_refused(content, message):
    tree = pickle_tree(pickle.dumps(np.arange(3), protocol=4))
    tree.state = (*tree.state[:4], content)
    with pytest.raises(DataError, match=message):
        pickled_array(tree)


@pytest.fixture
def table():
    pandas = pytest.importorskip("pandas")
    words = pandas.Series(["a", None, "b"], dtype=object)
    frame = pandas.DataFrame({"n": [1, 2, 3], "word": words, "x": [1.5, np.nan, 2.0], "m": [4, 5, 6]})
    frame.columns = frame.columns.astype(object)
    return frame


def test_a_table_has_its_columns_in_their_order(table):
    found = pickled_table(pickle_tree(pickle.dumps(table, protocol=4)))
    assert list(found) == ["n", "word", "x", "m"]
    assert found["m"].tolist() == [4, 5, 6]
    assert found["word"].tolist() == ["a", None, "b"]
    np.testing.assert_array_equal(found["x"], [1.5, np.nan, 2.0])


def test_a_table_that_lacks_a_block_is_refused(table):
    tree = pickle_tree(pickle.dumps(table, protocol=4))
    blocks, axes = tree.state["_mgr"].arguments
    tree.state["_mgr"].arguments = (blocks[:-1], axes)
    with pytest.raises(DataError, match="expected the columns n, word, x, m, got"):
        pickled_table(tree)


@pytest.mark.parametrize("value", [[1], np.arange(3)])
def test_what_is_no_table_is_refused(value):
    with pytest.raises(DataError, match="expected a pickled table, got"):
        pickled_table(pickle_tree(pickle.dumps(value)))
