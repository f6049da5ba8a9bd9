"""Every registered task, and one as a user would write it, keeps the Task contract."""

import numpy as np
import pytest
from torch import nn

from contracts import task_suite as suite
from fedcomp.errors import DataError
from fedcomp.tasks import ArrayTask, load_task
from fedcomp.tasks.fetch import cache_directory
from fedcomp.tasks.registry import TASKS
from tasks.idx_files import write_fashion_mnist


def two_blobs():
    rng = np.random.default_rng(5)
    targets = np.arange(80) % 2
    inputs = rng.normal(size=(80, 3)) + 2 * targets[:, None]
    rows = (inputs[:60], targets[:60]), (inputs[60:], targets[60:])
    return ArrayTask("two-blobs", 2, *rows, make_model=lambda: nn.Linear(3, 2))


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A machine whose only Fashion-MNIST is the made one, and whose cache is empty."""
    root = tmp_path_factory.mktemp("machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDCOMP_DATA", str(write_fashion_mnist(root / "data")))
        others = root / "cache" / "fedcomp"
        others.mkdir(parents=True)
        for place in cache_directory().glob("*"):  # what else is there may be read, but no features of made images kept
            if place.name not in ("fashion-mnist", "features"):
                (others / place.name).symlink_to(place)
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield root


def make(name):
    return two_blobs() if name == "own" else load_task(name)


RARE = ("speech-", "translation", "typefaces")
"""Tasks whose data `make test` does not install: where it is there, `make test-slow` reads it."""


def marked(name):
    return pytest.param(name, marks=pytest.mark.slow) if name.startswith(RARE) else name


@pytest.fixture(scope="module", params=[*map(marked, TASKS), "own"])
def task(request, machine):
    try:
        return make(request.param)
    except DataError as missing:
        pytest.skip(str(missing))


def test_splits(task):
    suite.check_splits(task)


def test_features_of_a_row_do_not_depend_on_other_rows(task):
    suite.check_features(task)


def test_same_seed_same_disjoint_split(task):
    suite.check_same_seed_same_disjoint_split(task)


def test_model_passes_the_validator(task):
    suite.check_validates_for_opacus(task)


def test_initial_weights_depend_on_the_seed_alone(task):
    suite.check_initial_weights(task.model)
    suite.check_initial_weights(task.student)


def test_loss_and_metric(task):
    suite.check_loss_and_metric(task)


def test_dataset_id_is_stable(request, task):
    suite.check_dataset_id(task, make(request.node.callspec.params["task"]))


def test_two_tasks_over_the_same_rows_share_a_ledger_subject(machine):
    tasks = [load_task(f"fashion-mnist-{kind}") for kind in ("cnn", "scattering")]
    assert tasks[0].dataset_id() == tasks[1].dataset_id()


def test_the_suite_catches_a_model_that_mixes_examples():
    class Mixed(ArrayTask):
        def network(self):
            return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))

    good = two_blobs()
    bad = Mixed("mixed", 2, good.training, good.testing, make_model=good.make_model)
    with pytest.raises(AssertionError):
        suite.check_validates_for_opacus(bad)
    with pytest.raises((AssertionError, ValueError)):
        suite.check_loss_and_metric(bad)


def test_the_suite_catches_weights_from_the_global_generator():
    class Global(ArrayTask):
        def model(self, seed):
            return self.network()

    good = two_blobs()
    bad = Global("global", 2, good.training, good.testing, make_model=good.make_model)
    with pytest.raises(AssertionError):
        suite.check_initial_weights(bad.model)
