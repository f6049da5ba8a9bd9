"""Motion of a wrist during shoulder exercises, as a watch measures it: the data of the Python package ``seglearn``."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.errors import DataError
from fedcomp.tasks.sources.pickle_tree import pickle_tree
from fedcomp.tasks.sources.pickled_arrays import pickled_array
from fedcomp.tasks.sources.python_package import WheelData, read_wheel_data

CHANNELS = 6
"""Three of acceleration, three of turning."""
EXERCISES = 7
"""Pendulum, abduction, forward elevation, internal and external rotation, trapezius extension, upright row."""

_DATA = WheelData(
    package="seglearn",
    version="1.2.5",
    file="data/watch_dataset.npy",
    sha256="eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537",
)


@dataclass(frozen=True, eq=False)
class Series:
    """One exercise by one person: ``signals [samples, 6]`` at 50 Hz, of acceleration (g) and of turning (rad/s).

    ``exercise`` is 0 to 6; ``subject`` 1 to 10.
    """

    signals: NDArray[np.float64]
    exercise: int
    subject: int


def watch_series(download: bool = False) -> tuple[Series, ...]:
    """Return the 140 recordings: 10 people, 7 exercises, both arms, 20 repetitions each.

    Source: D. M. Burns, N. Leung, M. Hardisty, C. M. Whyne, P. Henry and S. McLachlin, *Shoulder Physiotherapy Exercise
    Recognition: Machine Learning the Inertial Signals from a Smartwatch* (2018).

    Raises:
        DataError: if they are nowhere on this machine (and, with ``download``, cannot be fetched either), or are not
            what is expected.
    """
    return parse_series(read_wheel_data(_DATA, download))


def parse_series(content: bytes) -> tuple[Series, ...]:
    """Return what a file laid out as the package's holds: ``.npy`` around a pickle, which is read as data.

    Raises:
        DataError: if it is laid out otherwise.
    """
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        fields: Any = pickled_array(pickle_tree(file.read())).item()
        signals = [pickled_array(each) for each in fields["X"]]
        exercises, subjects = (pickled_array(fields[name]).astype(np.int64) for name in ("y", "subject"))
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"expected recordings of a watch, got a file without them: {error}") from error
    if not len(signals) == len(exercises) == len(subjects):
        raise DataError(f"expected an exercise and a subject for each of {len(signals)} recordings, got other numbers")
    if any(each.ndim != 2 or each.shape[1] != CHANNELS for each in signals):
        raise DataError(f"expected signals [samples, {CHANNELS}], got {[list(each.shape) for each in signals][:3]}")
    rows = zip(signals, exercises.tolist(), subjects.tolist(), strict=True)
    return tuple(Series(each, exercise, subject) for each, exercise, subject in rows)
