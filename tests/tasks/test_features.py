import multiprocessing
import time

import numpy as np
import pytest

from fedcomp.errors import DataError
from fedcomp.tasks.features import cached_features
from fedcomp.tasks.fetch import cache_directory

ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


class Doubled:
    def __init__(self):
        self.calls = 0

    def __call__(self, rows):
        self.calls += 1
        return (2 * rows).astype(np.float16)


def files():
    return sorted(path for path in (cache_directory() / "features").iterdir() if path.suffix == ".npy")


def test_features_are_computed_once_and_read_only():
    transform = Doubled()
    first, second = (cached_features("doubled", ROWS, transform, 3) for _ in range(2))
    np.testing.assert_array_equal(first, 2 * ROWS)
    np.testing.assert_array_equal(second, 2 * ROWS)
    assert transform.calls == 1
    assert isinstance(second, np.memmap)
    assert not second.flags.writeable


def test_other_rows_or_another_transform_are_computed_anew():
    transform = Doubled()
    cached_features("doubled", ROWS, transform, 3)
    cached_features("doubled", ROWS + 1, transform, 3)
    cached_features("doubled-v2", ROWS, transform, 3)
    assert transform.calls == 3
    assert len(files()) == 3


@pytest.mark.parametrize("keep", [0, 40, 100, 140])
def test_a_file_that_was_cut_short_is_computed_again(keep):
    cached_features("doubled", ROWS, Doubled(), 3)
    path = files()[0]
    path.write_bytes(path.read_bytes()[:keep])
    transform = Doubled()
    np.testing.assert_array_equal(cached_features("doubled", ROWS, transform, 3), 2 * ROWS)
    assert transform.calls == 1


def test_a_transform_of_another_width_is_refused():
    with pytest.raises(DataError, match=r"expected float16\[4, 5\] after writing it"):
        cached_features("doubled", ROWS, Doubled(), 5)


def test_a_transform_that_fails_leaves_no_file():
    def fails(_rows):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        cached_features("doubled", ROWS, fails, 3)
    assert files() == []


def test_a_cache_that_cannot_be_written_is_refused_with_the_variable_that_moves_it(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot keep features in .*XDG_CACHE_HOME"):
        cached_features("doubled", ROWS, Doubled(), 3)


def slow_job(counter):
    def slow(rows):
        with counter.get_lock():
            counter.value += 1
        time.sleep(0.3)
        return (2 * rows).astype(np.float16)

    np.testing.assert_array_equal(cached_features("slow", ROWS, slow, 3), 2 * ROWS)


def test_two_processes_compute_once():
    context = multiprocessing.get_context("fork")
    counter = context.Value("i", 0)
    processes = [context.Process(target=slow_job, args=(counter,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert counter.value == 1
