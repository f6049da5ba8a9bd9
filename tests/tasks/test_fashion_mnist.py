import numpy as np
import pytest
import torch

from fedcomp.errors import DataError
from fedcomp.tasks import fashion_mnist, load_task
from fedcomp.tasks.fashion_mnist import FashionMnist
from fedcomp.tasks.fetch import DebianData
from tasks.idx_files import idx_bytes, write_fashion_mnist


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    directory = write_fashion_mnist(tmp_path / "data")
    monkeypatch.setenv("FEDCOMP_DATA", str(directory))
    return directory


def sizes(task):
    return [sum(p.numel() for p in module.parameters()) for module in (task.model(0), task.student(0))]


def test_images_are_scaled_by_constants_and_labels_kept(directory):
    train = FashionMnist("cnn").train()
    assert train.inputs.shape == (60, 1, 28, 28)
    assert train.inputs is train.raw
    assert train.inputs.max() == 1
    assert train.inputs.min() == -1
    assert train.targets.tolist() == [row % 10 for row in range(60)]
    assert all(train.inputs[row, 0, 2 * (row % 10) + 3].min() == 1 for row in range(60))


@pytest.mark.parametrize(("head", "width"), [("linear", 3969), ("pooled", 729)])
def test_features_come_from_the_cache_and_students_see_images(directory, head, width):
    task = FashionMnist(head)
    test = task.test()
    assert isinstance(test.inputs, np.memmap)
    assert test.inputs.shape == (20, width)
    assert test.raw.shape == (20, 1, 28, 28)
    np.testing.assert_array_equal(FashionMnist(head).test().inputs, test.inputs)
    np.testing.assert_allclose(task.features(test.raw[:2]), test.inputs[:2], rtol=2e-3, atol=4e-3)


def test_tasks_are_named_as_they_are_registered_and_tell_of_the_same_rows(directory):
    tasks = {head: FashionMnist(head) for head in ("linear", "pooled", "cnn")}
    assert {head: task.name for head, task in tasks.items()} == {
        "linear": "fashion-mnist-scattering",
        "pooled": "fashion-mnist-pooled",
        "cnn": "fashion-mnist-cnn",
    }
    assert all(load_task(task.name).name == task.name for task in tasks.values())
    assert len({task.dataset_id() for task in tasks.values()}) == 1


def test_sizes_of_the_models(directory):
    assert sizes(FashionMnist("linear")) == [39_700, 20_586]
    assert sizes(FashionMnist("pooled")) == [7_300, 20_586]
    assert sizes(FashionMnist("cnn")) == [63_882, 20_586]


@pytest.mark.parametrize(("head", "width"), [("linear", 3969), ("pooled", 729)])
def test_a_linear_head_starts_at_zero(directory, head, width):
    outputs = FashionMnist(head).model(3)(torch.ones(2, width))
    assert outputs.abs().max() == 0


def test_cnns_can_be_trained(directory):
    task = FashionMnist("cnn")
    split = task.test()
    inputs, targets = torch.from_numpy(split.raw), torch.from_numpy(split.targets)
    for module in (task.model(0), task.student(0)):
        optimizer = torch.optim.Adam(module.parameters(), 0.01)
        losses = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = task.loss(module(inputs), targets).mean()
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
        assert losses[-1] < losses[0] - 0.03


def test_missing_data_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FEDCOMP_DATA", raising=False)
    nowhere = DebianData("dataset-fashion-mnist", str(tmp_path / "absent"), ("x.gz",))
    monkeypatch.setattr(fashion_mnist, "_DATA", nowhere)
    with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
        load_task("fashion-mnist-scattering")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("train-labels-idx1-ubyte.gz", np.zeros(59, np.uint8), r"expected values of shape \[60\], got \[59\]"),
        ("train-labels-idx1-ubyte.gz", np.full(60, 10, np.uint8), r"expected labels in 0\.\.9, got 10"),
        ("train-images-idx3-ubyte.gz", np.zeros((60, 28, 27), np.uint8), r"got \[60, 28, 27\]"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(directory, name, values, message):
    (directory / name).write_bytes(idx_bytes(values))
    with pytest.raises(DataError, match=message) as refusal:
        FashionMnist("cnn").train()
    assert name in str(refusal.value)
