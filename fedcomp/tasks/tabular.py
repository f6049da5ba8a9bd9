"""Columns of a table as numbers that a network can learn from, by public constants alone.

Means and deviations of private rows are private too, and every client would have its own. So a column says in the code
how it is scaled: by what it means, in round numbers. That needs no round of its own, no epsilon, and no agreement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError

_FAR = 4.0


class Column(Protocol):
    """How one column of a table becomes columns of numbers."""

    @property
    def name(self) -> str:
        """The column's name in the table."""
        ...

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``[n, width]`` numbers for the ``[n]`` values."""
        ...


@dataclass(frozen=True)
class Number:
    """A number ``x`` as ``(x - centre) / spread``, cut at 4 so that no row pulls a thousand times as hard as others.

    With ``log``, ``x`` is ``log10(1 + value)`` first: for amounts of money, whose ratios matter and not their
    differences. With ``optional``, a second column is 1 where the value is missing (and the first is 0 there).
    """

    name: str
    centre: float
    spread: float
    log: bool = False
    optional: bool = False

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return one column, or two.

        Raises:
            DataError: for a value that is not a number, or is missing in a column that is not optional.
        """
        try:
            numbers = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.name}: expected numbers, got {error}") from error
        missing = ~np.isfinite(numbers)
        if missing.any() and not self.optional:
            raise DataError(f"{self.name}: expected a number in every row, got none in {missing.sum()}")
        numbers[missing] = 0.0
        if self.log:
            numbers = np.log10(1.0 + np.maximum(numbers, 0.0))
        scaled = np.clip((numbers - self.centre) / self.spread, -_FAR, _FAR)
        scaled[missing] = 0.0
        return np.stack([scaled, missing], axis=1) if self.optional else scaled[:, None]


@dataclass(frozen=True)
class Choice:
    """One of some words, as a 1 in that word's column; a word that is not among them, or none, as zeros."""

    name: str
    words: tuple[Any, ...]

    def encode(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return a column for each word."""
        return np.array([[value == word for word in self.words] for value in values], dtype=np.float64)


def encode_table(table: Mapping[str, NDArray[Any]], columns: Sequence[Column]) -> NDArray[np.float32]:
    """Return ``[n, width]`` float32: what ``columns`` make of a table, side by side in their order.

    Raises:
        DataError: if the table lacks a column, or one cannot be read.
    """
    lacking = [column.name for column in columns if column.name not in table]
    if lacking or not columns:
        raise DataError(f"expected a table with {', '.join(lacking) or 'columns'}, got {', '.join(table)}")
    return np.concatenate([column.encode(table[column.name]) for column in columns], axis=1).astype(np.float32)
