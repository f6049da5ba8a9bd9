import hashlib
import lzma
import pickle
from dataclasses import replace

import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.risk import CREDIT_COLUMNS, LOAN_COLUMNS
from fedcomp.tasks.sources import loans
from fedcomp.tasks.sources.loans import credit_applicants, lending_club_loans
from fedcomp.tasks.tabular import encode_table


def ship(tmp_path, monkeypatch, content):
    """Let ``FEDCOMP_DATA`` hold ``content`` as the table of loans."""
    data = replace(loans._LENDING_CLUB, sha256=hashlib.sha256(content).hexdigest())
    path = tmp_path / data.file
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setattr(loans, "_LENDING_CLUB", data)


def test_a_table_is_unpacked_and_read(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"term": [36, 60], "income": [1.5, np.nan]})
    frame.columns = frame.columns.astype(object)
    ship(tmp_path, monkeypatch, lzma.compress(pickle.dumps(frame, protocol=4)))
    assert lending_club_loans()["term"].tolist() == [36, 60]


def test_what_is_not_packed_is_refused(tmp_path, monkeypatch):
    ship(tmp_path, monkeypatch, b"no xz")
    with pytest.raises(DataError, match="expected a file packed with xz"):
        lending_club_loans()


def real(read):
    try:
        return read()
    except DataError as missing:
        pytest.skip(str(missing))


def test_the_package_has_ten_thousand_loans_of_fifty_states():
    table = real(lending_club_loans)
    assert len(table) == 56
    assert all(column.shape == (10_000,) for column in table.values())
    assert len(np.unique(table["state"])) == 50
    assert np.isin(table["grade"], ["A", "B"]).sum() == 5496
    assert sorted(set(table["term"])) == [36, 60]


def test_the_package_has_4454_credits_of_which_1254_are_bad():
    table = real(credit_applicants)
    assert (table["Status"] == "bad").sum() == 1254
    assert all(column.shape == (4454,) for column in table.values())


@pytest.mark.parametrize(("read", "columns"), [(lending_club_loans, LOAN_COLUMNS), (credit_applicants, CREDIT_COLUMNS)])
def test_constants_fit_the_columns_of_the_package(read, columns):
    """No column is a constant, none is far from its centre for most rows, and words are known."""
    inputs = encode_table(real(read), columns)
    assert np.isfinite(inputs).all()
    assert (np.abs(np.median(inputs, axis=0)) <= 1.5).all()
    assert (inputs.std(axis=0) > 0).all()
