import numpy as np
import torch
from torch import nn

from fedcomp.shrink.base import Material
from fedcomp.shrink.pruning.groups import Group, Piece
from fedcomp.shrink.pruning.scores import norms, saliencies, weights_times_gradients
from shrink.module_kit import made, material

UNITS = np.arange(2)
GROUP = Group(
    "units",
    2,
    (Piece("0.weight", 0, UNITS, UNITS), Piece("0.bias", 0, UNITS, UNITS), Piece("1.weight", 1, UNITS, UNITS)),
)


def linear():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 4.0]]))
        module[0].bias.copy_(torch.tensor([2.0, 0.0]))
        module[1].weight.copy_(torch.tensor([[4.0, 3.0]]))
        module[1].bias.zero_()
    return module


def test_a_norm_is_of_all_that_leaves_with_a_unit_over_the_groups_mean():
    (scores,) = norms(linear(), [GROUP])
    np.testing.assert_allclose(scores, [5 / 5, 5 / 5])  # sqrt(1 + 4 + 4 + 16), sqrt(16 + 9)


def test_a_saliency_is_the_square_of_what_a_linear_model_loses_without_the_unit():
    given = Material(np.array([[1, 1]], np.float32), np.zeros(1, np.int64), "public", lambda outputs, _: outputs[:, 0])
    (scores,) = saliencies(linear(), [GROUP], given)
    # units add 4 * (1 + 2 + 2) = 20 and 3 * 4 = 12 to the loss, once by what comes in and once by what goes out
    np.testing.assert_allclose(scores, [(2 * 20) ** 2, (2 * 12) ** 2])


def test_every_batch_gives_the_products_of_its_own_mean_loss():
    module, given = made("perceptron"), material("perceptron", 40)
    products = list(weights_times_gradients(module, given))
    assert len(products) == 2
    rows, targets = torch.from_numpy(given.inputs), torch.from_numpy(given.targets)
    for part, found in zip((slice(32), slice(32, 40)), products, strict=True):
        module.zero_grad()
        given.loss(module(rows[part]), targets[part]).mean().backward()
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(found[name], (parameter.detach() * parameter.grad).double())


def test_frozen_parameters_are_judged_too():
    module, given = made("perceptron"), material("perceptron")
    frozen = made("perceptron").requires_grad_(False)
    ours, theirs = (next(weights_times_gradients(each, given)) for each in (frozen, module))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
