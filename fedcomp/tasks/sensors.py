"""Health sensors: which of seven shoulder exercises a watch is worn for, from two seconds of motion."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.tasks.base import ArrayTask
from fedcomp.tasks.models.conv1d import conv1d
from fedcomp.tasks.sources.watch_windows import CHANNELS, EXERCISES, Series, watch_series

_SAMPLES, _STEP = 100, 50  # two seconds at 50 Hz, each second of a recording in two windows
_HELD_OUT = (8, 9, 10)
_WIDTHS = (96, 96, 192, 192)

# Gravity is 1 g, and an arm turns by a radian or two in a second; what a jolt adds is cut.
_SCALE = np.array([1, 1, 1, 2, 2, 2], dtype=np.float32)[:, None]
_FAR = 4.0


@cache
def watch_exercises(download: bool = False) -> ArrayTask:
    """Return the task: windows ``[6, 100]`` of seven people for training and of three others for the test.

    Signals are scaled by constants, the same for everyone: what is usual for a person is private. Clients are the
    people, 1 to 7: nobody's windows are split, and the test is of people who were never seen. Windows overlap by half,
    so that privacy of examples protects a window, while most of what was measured in it is in two.

    Raises:
        DataError: if the recordings are nowhere on this machine (and, with ``download``, cannot be fetched either).
    """
    series = watch_series(download)
    inputs, targets, subjects = windows(series)
    tested = np.isin(subjects, _HELD_OUT)
    return ArrayTask(
        name="health-sensors",
        num_classes=EXERCISES,
        training=(inputs[~tested], targets[~tested]),
        testing=(inputs[tested], targets[tested]),
        make_model=lambda: conv1d(CHANNELS, EXERCISES, _WIDTHS),
        make_student=lambda: conv1d(CHANNELS, EXERCISES, tuple(width // 3 for width in _WIDTHS)),
        natural_clients=subjects[~tested],
    )


def windows(series: Sequence[Series]) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return scaled windows ``[n, 6, 100]``, the exercise ``[n]`` and the subject ``[n]`` of each, in order of time.

    What is left over at the end of a recording is dropped.
    """
    cut = [_cut(each.signals) for each in series]
    counts = [len(each) for each in cut]
    inputs = np.clip(np.concatenate(cut).astype(np.float32) / _SCALE, -_FAR, _FAR)
    exercises, subjects = (
        np.repeat(np.array([getattr(each, name) for each in series], dtype=np.int64), counts)
        for name in ("exercise", "subject")
    )
    return inputs, exercises, subjects


def _cut(signals: NDArray[Any]) -> NDArray[Any]:
    """Return the windows ``[n, 6, 100]`` of signals ``[samples, 6]``."""
    if len(signals) < _SAMPLES:
        return np.empty((0, signals.shape[1], _SAMPLES))
    return np.lib.stride_tricks.sliding_window_view(signals, _SAMPLES, axis=0)[::_STEP]
