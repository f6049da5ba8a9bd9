"""What every Task promises; each implementation runs through all of it (see ``test_task_contract.py``)."""

import warnings

import numpy as np
import pytest
import torch

from fedcomp.tasks import model_rows
from fedcomp.tasks.partition import partition, split_public
from fedcomp.training import UnsupportedModel, check_private_model


def check_splits(task):
    for split in (task.train(), task.test()):
        assert len(split) == len(split.inputs) == len(split.raw) == len(split.targets) > 0
        assert split.inputs.dtype in (np.float32, np.float16, np.int64)
        assert np.isfinite(split.inputs).all()
        assert split.targets.dtype == np.int64
        assert split.targets.min() >= 0
        assert split.targets.max() < task.num_classes
        rows = np.array([3, 1, 1])
        taken = split.take(rows)
        np.testing.assert_array_equal(taken.inputs, split.inputs[rows])
        np.testing.assert_array_equal(taken.targets, split.targets[rows])
        np.testing.assert_array_equal(taken.raw, split.raw[rows])


def check_features(task):
    split = task.test().take(np.arange(5))
    np.testing.assert_allclose(task.features(split.raw), split.inputs, rtol=2e-3, atol=2e-3)
    alone = np.concatenate([task.features(split.raw[row : row + 1]) for row in range(5)])
    np.testing.assert_allclose(alone, split.inputs, rtol=2e-3, atol=2e-3)  # no row depends on another


def check_same_seed_same_disjoint_split(task):
    def split(seed):
        rng = np.random.default_rng(seed)
        private, public = split_public(len(task.train()), 10, None, rng)
        kind = "dirichlet" if task.train().targets.ndim == 1 else "iid"  # a sequence has no class
        shares = partition(task.train().targets[private], None, 4, kind, 1.0, 1, rng)
        return [public, *(private[rows] for rows in shares)]

    first, second, other = split(1), split(1), split(2)
    assert all(np.array_equal(left, right) for left, right in zip(first, second, strict=True))
    assert not all(np.array_equal(left, right) for left, right in zip(first, other, strict=True))
    together = np.concatenate(first)
    assert sorted(together) == list(range(len(task.train())))


def check_validates_for_opacus(task):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from opacus.validators import ModuleValidator
    module = task.model(0)
    if any(isinstance(layer, torch.nn.RNNBase) for layer in module.modules()):
        with pytest.raises(UnsupportedModel, match=r"opacus\.layers\.DP"):  # for mode none alone, and refused by name
            check_private_model(module)
    else:
        assert ModuleValidator.validate(module, strict=False) == []


def check_initial_weights(make):
    """Weights depend on the seed alone, and torch's global generator is left as it was."""
    first = make(7).state_dict()
    torch.rand(3)
    before = torch.get_rng_state()
    second = make(7).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def check_loss_and_metric(task):
    split = task.test().take(np.arange(12))
    targets = torch.from_numpy(split.targets)
    for module, values in ((task.model(0), split.inputs), (task.student(0), split.raw)):
        outputs = module(torch.from_numpy(model_rows(values)))
        assert outputs.shape == (*split.targets.shape, task.num_classes)
        loss = task.loss(outputs, targets)
        assert loss.shape == (12,)
        # Of each example alone: a batch statistic in the model or the loss would show here.
        alone = task.loss(module(torch.from_numpy(model_rows(values[:1]))), targets[:1])
        torch.testing.assert_close(alone, loss[:1])
        assert 0 <= task.metric(outputs, targets) <= 1
    perfect = torch.nn.functional.one_hot(targets, task.num_classes).float()
    assert task.metric(perfect, targets) == 1
    assert task.metric(-perfect, targets) == 0


def check_dataset_id(task, again):
    assert task.dataset_id() == again.dataset_id()
    assert task.dataset_id().isprintable()
