"""Weights that stay zero: which those are, and that no training uses them."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.privacy import PoissonSampler
from fedcomp.shrink.zeros import keep_zeros, masked, masks_of
from fedcomp.tasks.digits import digits
from fedcomp.training import choose_engine, get_arrays, train_plain, train_private


def thinned(module):
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data.flatten()[::2] = 0.0
    return module


def models():
    torch.manual_seed(0)
    convolved = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )
    return {
        "perceptron": thinned(digits().model(0)),
        "convolved": thinned(convolved),
        "linear": thinned(nn.Linear(64, 10)),
    }


def test_masks_are_of_thinned_weights_not_of_biases_nor_of_layers_that_start_at_zero():
    model = {
        "thinned": np.array([[0.0, 1.0], [2.0, 3.0]]),
        "bias": np.array([0.0, 1.0]),
        "dense": np.ones((2, 2)),
        "starts at zero": np.zeros((2, 2)),
    }
    masks = masks_of(model)
    assert {name: mask.tolist() for name, mask in masks.items()} == {"thinned": [[False, True], [True, True]]}


def test_an_update_loses_what_is_masked_and_keeps_everything_else():
    update = {"a": np.float32([[1, 2]]), "b": np.float32([3])}
    found = masked(update, {"a": np.array([[True, False]])})
    assert found["a"].tolist() == [[1, 0]]
    assert found["a"].dtype == np.float32
    assert found["b"] is update["b"]
    assert list(found) == ["a", "b"]
    assert update["a"].tolist() == [[1, 2]]


@pytest.mark.parametrize("name", models())
def test_plain_training_is_as_if_the_zeros_had_no_weights(name):
    """Each step differentiates at a model that has the zeros: the same as clearing the gradient's entries by hand."""
    task, module = digits(), models()[name]
    masks, by_hand = masks_of(get_arrays(module)), copy.deepcopy(module)
    settings = {"loss": task.loss, "batch_size": len(task.train()), "learning_rate": 0.1}
    keep_zeros(module, masks)
    found = masked(
        train_plain(module, task.train(), local_steps=3, rng=np.random.default_rng(0), **settings).update, masks
    )
    before = get_arrays(by_hand)
    for _ in range(3):
        train_plain(by_hand, task.train(), local_steps=1, rng=np.random.default_rng(0), **settings)
        for key, parameter in by_hand.named_parameters():
            if key in masks:
                parameter.data.mul_(torch.from_numpy(masks[key]))
    for key, array in get_arrays(by_hand).items():
        np.testing.assert_allclose(found[key], array - before[key], atol=1e-6)


@pytest.mark.parametrize("name", models())
def test_private_training_finds_an_engine_and_leaves_the_zeros(name):
    task, module = digits(), models()[name]
    split, masks = task.train().take(np.arange(60)), masks_of(get_arrays(module))
    keep_zeros(module, masks)
    assert choose_engine(module, task.loss, split.inputs, split.targets).engine.name in ("ghost", "vmap", "linear")
    update = train_private(
        module,
        split,
        loss=task.loss,
        sampler=PoissonSampler(60, 0.5, 3),
        nominal_examples=60,
        max_grad_norm=1.0,
        noise_multiplier=1.0,
        learning_rate=0.1,
    ).post_process(lambda arrays: masked(arrays, masks))
    for key, mask in masks.items():
        assert not update.arrays[key][~mask].any()
        assert update.arrays[key][mask].all()


def test_evaluation_changes_nothing_and_copies_keep_zeros_too():
    module = keep_zeros(models()["perceptron"], masks_of(get_arrays(models()["perceptron"])))
    with torch.no_grad():
        module[0].weight.fill_(1.0)
    other, rows = copy.deepcopy(module), torch.zeros(1, 64)
    module.eval()(rows)
    assert module[0].weight.min() == 1
    other.train()(rows)
    assert other[0].weight.min() == 0
    assert module[0].weight.min() == 1


def test_a_model_without_zeros_is_left_alone():
    module = nn.Linear(2, 2)
    assert keep_zeros(module, {}) is module
    assert not module._forward_pre_hooks
