import numpy as np
import pytest
import torch

from fedcomp.tasks.fashion_mnist import FashionMnist
from fedcomp.tasks.fashion_mobile import FashionMobile
from tasks.idx_files import write_fashion_mnist

MODELS = ("resnet", "mobilenet")


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("FEDCOMP_DATA", str(write_fashion_mnist(tmp_path / "data")))


@pytest.mark.parametrize("model", MODELS)
def test_rows_are_the_images_of_fashion_mnist(directory, model):
    task, plain = FashionMobile(model), FashionMnist("cnn")
    assert task.name == f"fashion-mnist-{model}"
    np.testing.assert_array_equal(task.train().inputs, plain.train().inputs)
    assert task.dataset_id() == plain.dataset_id()


@pytest.mark.parametrize("model", MODELS)
def test_models_answer_for_every_class_and_students_are_small(directory, model):
    task, rows = FashionMobile(model), torch.zeros(2, 1, 28, 28)
    large, small = task.model(0), task.student(0)
    assert large(rows).shape == small(rows).shape == (2, 10)
    sizes = [sum(p.numel() for p in module.parameters()) for module in (large, small)]
    assert sizes[1] < 0.15 * sizes[0]


@pytest.mark.parametrize("model", ["resnet", pytest.param("mobilenet", marks=pytest.mark.slow)])
def test_the_loss_falls_from_the_first_steps(directory, model):
    task = FashionMobile(model)
    module, split = task.student(0), task.train().take(np.arange(20))
    inputs, targets = torch.from_numpy(split.inputs), torch.from_numpy(split.targets)
    optimizer, losses = torch.optim.Adam(module.parameters(), 3e-3), []
    for _ in range(7):
        optimizer.zero_grad()
        loss = task.loss(module(inputs), targets).mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
