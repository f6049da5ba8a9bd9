import numpy as np
import pytest
import torch

from fedcomp.errors import DataError
from fedcomp.tasks import sensors
from fedcomp.tasks.sensors import watch_exercises, windows
from fedcomp.tasks.sources.watch_windows import Series


def series(samples=250, exercise=0, subject=1, value=0.5):
    return Series(np.full((samples, 6), value), exercise, subject)


@pytest.fixture
def people(monkeypatch):
    found = [series(exercise=exercise, subject=subject) for subject in range(1, 11) for exercise in range(7)]
    monkeypatch.setattr(sensors, "watch_series", lambda _download: tuple(found))
    watch_exercises.cache_clear()
    yield
    watch_exercises.cache_clear()


def test_windows_are_two_seconds_long_and_start_every_second():
    ramp = np.arange(250.0)[:, None] * np.ones(6) / 1000
    inputs, _, _ = windows([Series(ramp, 0, 1)])
    assert inputs.shape == (4, 6, 100)
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs[:, 0, 0], [0, 0.05, 0.1, 0.15])
    np.testing.assert_allclose(inputs[1, 0], ramp[50:150, 0], rtol=1e-6)


def test_each_window_has_the_exercise_and_the_subject_of_its_recording():
    found = windows([series(150, exercise=4, subject=7), series(99), series(100, exercise=2, subject=9)])
    assert [part.tolist() for part in found[1:]] == [[4, 4, 2], [7, 7, 9]]


def test_scales_are_constants_and_jolts_are_cut():
    assert windows([series(100, value=1.0)])[0][0, :, 0].tolist() == [1, 1, 1, 0.5, 0.5, 0.5]
    assert windows([series(100, value=-50.0)])[0].min() == -4


def test_clients_are_people_and_three_others_are_the_test(people):
    task = watch_exercises()
    assert (len(task.train()), len(task.test())) == (7 * 28, 3 * 28)
    assert np.bincount(task.groups()).tolist() == [28] * 7
    assert np.bincount(task.test().targets).tolist() == [12] * 7


def test_models_answer_for_every_exercise_and_students_are_small(people):
    task = watch_exercises()
    rows = torch.from_numpy(task.test().inputs[:2])
    large, small = task.model(0), task.student(0)
    assert large(rows).shape == small(rows).shape == (2, 7)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (large, small)]
    assert sizes[1] < 0.15 * sizes[0]


def test_windows_of_the_package_are_of_seven_people_and_three():
    watch_exercises.cache_clear()
    try:
        task = watch_exercises()
    except DataError as missing:
        pytest.skip(str(missing))
    assert (len(task.train()), len(task.test())) == (3193, 1484)
    assert np.bincount(task.groups()).tolist() == [561, 540, 305, 295, 490, 478, 524]
