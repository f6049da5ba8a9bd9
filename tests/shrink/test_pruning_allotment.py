import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.pruning.allotment import allot, work_of
from fedcomp.shrink.pruning.channels import channel_groups
from fedcomp.shrink.pruning.cut import cut, example_of
from fedcomp.shrink.pruning.heads import attention_heads, hidden_units
from fedcomp.shrink.pruning.sensitivity import SHARES
from shrink.module_kit import MAKERS, made, rows

pytest.importorskip("torch_pruning", reason="pip install 'fedcomp[edge]'")


def example(kind):
    return example_of(MAKERS[kind][1], rows(kind).dtype)


def counted(module, given):
    """Multiply-adds, counted apart: numbers of the weight times places that outputs have."""
    total = 0

    def hook(layer, _, outputs):
        nonlocal total
        places = outputs[0, 0].numel() if isinstance(layer, nn.Conv1d | nn.Conv2d) else outputs[0, ..., 0].numel()
        total += layer.weight.numel() * places

    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        module(given)
    return total


@pytest.mark.parametrize("kind", ["perceptron", "series", "resnet", "separable", "transformer"])
def test_work_is_what_the_whole_and_the_cut_model_multiply(kind):
    module, given = made(kind), example(kind)
    groups = (
        attention_heads(module) + list(hidden_units(module, given))
        if kind == "transformer"
        else channel_groups(module, given)
    )
    work = work_of(module, groups, given)
    whole = [group.units for group in groups]
    half = [max(group.parts, group.units // 2) for group in groups]
    assert work(whole) == pytest.approx(counted(made(kind), given))
    smaller = cut(
        module,
        groups,
        [group.largest(np.ones(group.units), left) for group, left in zip(groups, half, strict=True)],
        given,
    )
    assert work(half) == pytest.approx(counted(smaller, given))


def two_layers():
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3)).eval()
    given = example_of((8,), np.dtype(np.float32))
    groups = channel_groups(module, given)
    return groups, work_of(module, groups, given)


def test_the_group_that_hurts_least_gives_most_for_the_same_work():
    groups, work = two_layers()
    damage = np.outer([1.0, 100.0], SHARES)
    left = allot(groups, damage, work, [16, 16], [4, 4])
    assert work(left) <= work([16, 16])
    assert left[0] < 16 < left[1]
    assert all(count % 4 == 0 for count in left)
    other = allot(groups, damage[::-1], work, [16, 16], [4, 4])
    assert other[1] < 16 < other[0]


def test_nothing_leaves_where_an_even_cut_takes_nothing_and_no_group_keeps_less_than_half_of_its_part():
    groups, work = two_layers()
    damage = np.outer([0.0, 1e9], SHARES)
    assert allot(groups, damage, work, [32, 32], [8, 8]) == [32, 32]
    assert allot(groups, damage, work, [16, 16], [1, 1])[0] == 8
    assert allot(groups, damage, work, [16, 16], [3, 3])[0] == 9
    assert allot(groups, damage, work, [8, 8], [64, 64]) == [32, 32]  # a multiple is more than there is


def test_a_group_in_parts_gives_as_much_of_each():
    module = made("normalised")
    given = example("normalised")
    groups = channel_groups(module, given)
    work = work_of(module, groups, given)
    damage, even = np.outer(np.ones(len(groups)), SHARES), [group.units // 2 for group in groups]
    left = allot(groups, damage, work, even, [1] * len(groups))
    assert all(count % group.parts == 0 for count, group in zip(left, groups, strict=True))
    assert 4 in [group.parts for group in groups]
    assert work(left) <= work(even)
