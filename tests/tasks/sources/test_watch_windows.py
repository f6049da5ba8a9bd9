import io

import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.sources.watch_windows import parse_series, watch_series


def file_of(**fields):
    recordings = {
        "X": [np.full((120, 6), 0.5), np.ones((80, 6))],
        "y": np.array([3, 0]),
        "subject": np.array([1.0, 10.0]),
    }
    buffer = io.BytesIO()
    np.save(buffer, np.array(recordings | fields, dtype=object), allow_pickle=True)
    return buffer.getvalue()


def test_a_file_is_recordings_of_exercises_by_subjects():
    first, second = parse_series(file_of())
    assert (first.exercise, first.subject, second.exercise, second.subject) == (3, 1, 0, 10)
    np.testing.assert_array_equal(first.signals, np.full((120, 6), 0.5))
    assert second.signals.shape == (80, 6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no array", "expected recordings of a watch, got a file without them"),
        (file_of()[:-20], "expected a pickle"),
        (file_of(X=None), "got a file without them"),
        (file_of(y=np.array([1])), "expected an exercise and a subject for each of 2 recordings"),
        (file_of(X=[np.ones((9, 5))] * 2), r"expected signals \[samples, 6\], got \[\[9, 5\], \[9, 5\]\]"),
    ],
)
def test_other_files_are_refused(content, message):
    with pytest.raises(DataError, match=message):
        parse_series(content)


def test_the_package_has_ten_subjects_with_every_exercise_on_both_arms():
    try:
        series = watch_series()
    except DataError as missing:
        pytest.skip(str(missing))
    kinds, counts = np.unique([(each.subject, each.exercise) for each in series], axis=0, return_counts=True)
    assert (len(kinds), set(counts)) == (70, {2})
    acceleration = np.concatenate([each.signals[:, :3] for each in series])
    assert 0.9 < np.median(np.linalg.norm(acceleration, axis=1)) < 1.1  # an arm that rests measures gravity
