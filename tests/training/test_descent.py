"""What a step does with a gradient."""

import copy

import numpy as np
import pytest
import torch
from private_kit import cross_entropy, seeded
from torch import nn

from fedcomp.arrays import digest
from fedcomp.errors import ConfigError
from fedcomp.tasks.base import Split
from fedcomp.training import get_arrays, train_plain
from fedcomp.training.descent import check_optimizer, descent


def values(*numbers: float) -> list[torch.Tensor]:
    return [torch.tensor([number], requires_grad=True) for number in numbers]


def rows() -> Split:
    inputs = np.random.default_rng(0).standard_normal((48, 6)).astype(np.float32)
    return Split(inputs, (inputs[:, 0] > 0).astype(np.int64), inputs)


def trained(**options):
    module = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))
    settings = {"batch_size": 16, "local_epochs": 8, "learning_rate": 0.02, "rng": np.random.default_rng(0)} | options
    return train_plain(module, rows(), loss=cross_entropy, **settings)


def test_sgd_with_momentum_is_what_torch_computes():
    ours, theirs = values(1.0, -2.0), values(1.0, -2.0)
    descend, stepper = descent(ours, "sgd", 0.1, 0.9), torch.optim.SGD(theirs, 0.1, momentum=0.9)
    for gradient in (0.5, -0.25, 3.0):
        descend([torch.tensor([gradient]), torch.tensor([-gradient])])
        for parameter, sign in zip(theirs, (1, -1), strict=True):
            parameter.grad = torch.tensor([sign * gradient])
        stepper.step()
    assert [each.item() for each in ours] == pytest.approx([each.item() for each in theirs])


def test_the_first_step_of_adamw_is_as_long_as_the_learning_rate_whatever_the_gradient():
    moved = values(1.0, 1.0)
    descent(moved, "adamw", 0.1, 0.0)([torch.tensor([1e-3]), torch.tensor([-20.0])])
    assert [each.item() for each in moved] == pytest.approx([0.9, 1.1], abs=1e-3)


def test_adamw_is_not_moved_off_course_by_one_odd_batch():
    """Gradients that are longer than 1 are scaled down, so that the averages remember their direction alone."""
    calm, odd = values(0.0), values(0.0)
    for parameters, size in ((calm, 1.0), (odd, 1e4)):
        descend = descent(parameters, "adamw", 0.1, 0.0)
        descend([torch.tensor([size])])
        descend([torch.tensor([-0.5])])
    assert odd[0].item() == pytest.approx(calm[0].item(), abs=1e-5)


def test_adamw_learns_and_leaves_no_gradients_behind():
    result = trained(optimizer="adamw")
    assert result.loss < trained(optimizer="adamw", local_epochs=1).loss - 0.1
    assert digest(result.update) == digest(trained(optimizer="adamw").update)
    assert digest(result.update) != digest(trained().update)


@pytest.mark.parametrize("options", [{"optimizer": "adamw"}, {"momentum": 0.9}])
def test_what_is_remembered_starts_empty_in_every_call(options):
    """A module that was trained before takes the step that an equal one takes which was not."""
    settings = {"loss": cross_entropy, "batch_size": 48, "learning_rate": 0.02, "local_steps": 1, **options}
    module = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))
    train_plain(module, rows(), rng=np.random.default_rng(0), **settings)
    fresh = copy.deepcopy(module)
    again, first = (train_plain(each, rows(), rng=np.random.default_rng(1), **settings) for each in (module, fresh))
    assert digest(again.update) == digest(first.update)
    longer = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)))
    train_plain(longer, rows(), rng=np.random.default_rng(0), **{**settings, "local_steps": 2})
    assert digest(get_arrays(longer)) != digest(get_arrays(module))  # with its memory it would go on elsewhere


@pytest.mark.parametrize(
    ("optimizer", "momentum", "by_example", "said"),
    [
        ("adam", 0.0, False, "training.optimizer: expected sgd or adamw, got 'adam'"),
        ("adamw", 0.0, True, "training.optimizer: expected sgd under DP-SGD"),
        ("adamw", 0.9, False, "training.momentum: expected 0 with adamw, which has its own, got 0.9"),
    ],
)
def test_what_does_not_fit_is_refused(optimizer, momentum, by_example, said):
    with pytest.raises(ConfigError, match=said):
        check_optimizer(optimizer, momentum, by_example=by_example)


def test_what_fits_is_not():
    check_optimizer("adamw", 0.0, by_example=False)
    check_optimizer("sgd", 0.9, by_example=True)
