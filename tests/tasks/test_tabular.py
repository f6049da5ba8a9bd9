import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.tabular import Choice, Number, encode_table


def encoded(column, *values):
    return encode_table({column.name: np.array(values, dtype=object)}, [column]).tolist()


def test_a_number_is_counted_from_its_centre_in_spreads():
    assert encoded(Number("age", centre=40, spread=10), 40, 30, 65) == [[0.0], [-1.0], [2.5]]


def test_a_far_number_is_cut():
    assert encoded(Number("age", centre=0, spread=1), 1e9, -1e9) == [[4.0], [-4.0]]


def test_amounts_are_powers_of_ten_and_none_is_zero():
    assert encoded(Number("debt", centre=0, spread=1, log=True), 0, 9, 999) == [[0.0], [1.0], [3.0]]


def test_a_missing_value_is_the_centre_and_is_told():
    column = Number("income", centre=5, spread=1, optional=True)
    assert encoded(column, 6, None, float("nan")) == [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]


def test_words_have_columns_of_their_own_and_unknown_ones_none():
    column = Choice("home", ("own", "rent"))
    assert encoded(column, "rent", "own", "boat", None) == [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]


def test_columns_stand_side_by_side_in_their_order():
    table = {"a": np.array([1, 2]), "b": np.array(["x", "y"]), "c": np.array([0, 0])}
    found = encode_table(table, [Choice("b", ("x", "y")), Number("a", centre=0, spread=1)])
    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 0.0, 1.0], [0.0, 1.0, 2.0]]


def test_a_row_is_encoded_alike_in_whatever_company():
    """Nothing is learnt from rows: that is what makes it free under privacy."""
    column = Number("age", centre=40, spread=10)
    assert encoded(column, 50, 90)[0] == encoded(column, 50, -7)[0] == encoded(column, 50)[0]


def test_a_table_that_does_not_fit_is_refused():
    column = Number("age", centre=0, spread=1)
    with pytest.raises(DataError, match="expected a table with age, got name"):
        encode_table({"name": np.array(["x"])}, [column])
    with pytest.raises(DataError, match="age: expected numbers, got could not convert"):
        encoded(column, "old")
    with pytest.raises(DataError, match="age: expected a number in every row, got none in 2"):
        encoded(column, 3, None, None)
    with pytest.raises(DataError, match="expected a table with columns, got age"):
        encode_table({"age": np.array([1])}, [])
