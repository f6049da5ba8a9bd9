import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.clustering import Clusters, codebook_sizes
from fedcomp.shrink.pruning.weights import Weights
from shrink.module_kit import made, material

RNG = np.random.default_rng(0)
GIVEN = material("perceptron")


def clustered(values, bit_width):
    module = nn.Linear(len(values), 1)
    module.weight.data = torch.tensor([values])
    return Clusters(bit_width).apply(module, GIVEN, RNG).weight[0].tolist()


def test_weights_become_the_means_of_their_clusters():
    assert clustered([1.0, 9.0, 3.0, 11.0], 1) == [2.0, 10.0, 2.0, 10.0]
    assert clustered([-6.0, 0.0, -2.0, 0.0], 1) == [-4.0, 0.0, -4.0, 0.0]  # zero takes one of the two values


def test_no_more_values_than_the_codebook_has_room_for():
    for kind in ("resnet", "gru", "transformer"):
        for bit_width in (1, 3):
            sizes = codebook_sizes(Clusters(bit_width).apply(made(kind), material(kind), RNG))
            assert sizes
            assert max(sizes.values()) <= 2**bit_width
        assert max(codebook_sizes(made(kind)).values()) > 8


def test_more_values_are_nearer_to_the_weights():
    module = made("resnet")
    errors = [
        sum(
            float((a - b).detach().square().sum())
            for a, b in zip(module.parameters(), smaller.parameters(), strict=True)
        )
        for smaller in (Clusters(bits).apply(module, material("resnet"), RNG) for bits in (1, 2, 4, 6, 8))
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3 * errors[0]


def test_no_weight_is_nearer_to_another_value_than_to_its_own():
    before = torch.sin(torch.arange(1.0, 201.0) ** 1.5)
    after = torch.tensor(clustered(before.tolist(), 3))
    book = after.unique()
    nearest = (before[:, None] - book).abs().min(dim=1).values
    torch.testing.assert_close((before - after).abs(), nearest)
    for value in book:
        torch.testing.assert_close(before[after == value].mean(), value)


def test_what_pruning_took_out_stays_out_and_zero_is_a_value_of_the_book():
    pruned = Weights(0.3).apply(made("resnet"), material("resnet"), RNG)
    smaller = Clusters(2).apply(pruned, material("resnet"), RNG)
    for name, weight in smaller.named_parameters():
        if weight.ndim > 1:
            assert torch.equal(weight == 0, pruned.get_parameter(name) == 0)
    assert max(codebook_sizes(smaller).values()) <= 4


def test_few_or_equal_or_no_weights_stay_as_they_are():
    for values in ([2.0], [0.0, 0.0], [5.0, 5.0, 5.0], [1.0, 2.0]):
        assert clustered(values, 4) == values


def test_modules_without_weights_and_options_out_of_range_are_refused():
    with pytest.raises(ShrinkError, match="expected layers that have weights"):
        Clusters().apply(nn.ReLU(), GIVEN, RNG)
    for bit_width in (0, 9):
        with pytest.raises(ValueError, match=f"bit_width must be in 1..8, got {bit_width}"):
            Clusters(bit_width)
