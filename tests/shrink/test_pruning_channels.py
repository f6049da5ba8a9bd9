import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.channels import Channels, TaylorChannels, channel_groups
from fedcomp.shrink.pruning.cut import example_of
from shrink.module_kit import answers, made, material, rows, size

KINDS = ("perceptron", "resnet", "separable", "mobile", "series", "normalised")
RNG = np.random.default_rng(0)


def silence(module, kind, share=0.5):
    """Set all that leaves with the last units of each group to zero."""
    tensors = dict(module.named_parameters())
    for group in channel_groups(module, torch.from_numpy(rows(kind, 1))):
        for piece in group.pieces:
            gone = piece.places[piece.units >= group.units * (1 - share)]
            with torch.no_grad():
                tensors[piece.tensor].index_fill_(piece.axis, torch.from_numpy(gone), 0.0)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "normalised"])
def test_channels_without_weights_leave_without_a_trace(kind):
    module = made(kind)
    silence(module, kind)
    smaller = Channels(0.5, round_to=1).apply(module, material(kind), RNG)
    assert size(smaller) < 0.6 * size(module)
    np.testing.assert_allclose(answers(smaller, rows(kind)), answers(module, rows(kind)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "step", [Channels(), Channels(scope="global"), TaylorChannels(), TaylorChannels(scope="global")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_narrower_by_multiples_and_the_outputs_stay(kind, step):
    module = made(kind)
    smaller = step.apply(module, material(kind), RNG)
    assert size(smaller) < size(module)
    widths = [
        layer.weight.shape[0] for layer in smaller.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
    ]
    assert widths[-1] == 3
    assert all(width % 8 == 0 for width in widths[:-1])
    assert answers(smaller, rows(kind)).shape == (16, 3)


def test_a_depthwise_convolution_stays_one():
    smaller = Channels().apply(made("separable"), material("separable"), RNG)
    layer = smaller[2].depthwise
    assert layer.groups == layer.in_channels == layer.out_channels == 8


def test_a_residual_connection_loses_the_same_channels_on_both_sides():
    groups = {group.name: group for group in channel_groups(made("resnet"), torch.from_numpy(rows("resnet", 1)))}
    together = {piece.tensor for group in groups.values() for piece in group.pieces if len(group.pieces) > 6}
    assert {"0.weight", "2.second.weight", "3.second.weight", "4.first.weight", "4.shortcut.weight"} <= together
    assert not any(
        piece.tensor == "8.weight" and piece.axis == 0 for group in groups.values() for piece in group.pieces
    )


def test_each_run_that_a_group_norm_normalises_keeps_equally_many():
    module = made("normalised")
    with torch.no_grad():
        module[0].weight[4:] *= 1e-3  # by norm alone, all of the first run would stay, and none of the last
        module[1].weight.copy_(torch.arange(16.0))
    smaller = Channels().apply(module, material("normalised"), RNG)
    kept = (smaller[1].weight.detach().numpy() // 4).astype(int)
    assert np.bincount(kept).tolist() == [2, 2, 2, 2]
    assert (smaller[1].num_groups, smaller[1].num_channels) == (4, 8)


def test_global_scope_takes_more_where_less_is_lost():
    module = made("perceptron")
    with torch.no_grad():
        module[0].weight[4:] = module[2].weight[:, 4:] = 0
        module[0].bias[4:] = 0
    local = Channels(0.5, "layer", 1).apply(module, material("perceptron"), RNG)
    together = Channels(0.5, "global", 1).apply(module, material("perceptron"), RNG)
    assert [local[0].out_features, local[2].out_features] == [16, 8]
    assert together[0].out_features < 16
    assert together[2].out_features > 8
    assert together[0].out_features + together[2].out_features == 24


def test_taylor_keeps_what_the_loss_would_miss_whatever_its_norm():
    module = nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        module[0].weight.fill_(0.1)
        module[0].bias.copy_(torch.tensor([1.0, -50.0]))  # the second unit is large, and never active
        module[2].weight.copy_(torch.tensor([[0.5, 9.0], [-0.5, 9.0]]))
    inputs = np.random.default_rng(0).random((64, 4)).astype(np.float32)
    given = Material(inputs, np.zeros(64, np.int64), "public", material("perceptron").loss)
    assert TaylorChannels(0.5, round_to=1).apply(module, given, RNG)[0].bias.item() == 1.0
    assert Channels(0.5, round_to=1).apply(module, given, RNG)[0].bias.item() == -50.0


def test_without_targets_the_teachers_answers_are_taken():
    module, given = made("perceptron"), material("perceptron")
    teacher = made("perceptron", 3)
    targets = answers(teacher, given.inputs).argmax(-1)
    told = TaylorChannels().apply(module, dataclasses.replace(given, targets=targets), RNG)
    asked = TaylorChannels().apply(module, dataclasses.replace(given, targets=None, teacher=teacher), RNG)
    assert all(torch.equal(a, b) for a, b in zip(told.parameters(), asked.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kind", "changes", "step", "message"),
    [
        ("gru", {}, Channels(), "expected convolutions and linear layers alone, got GRU at 'gru'; the steps recurrent"),
        ("transformer", {}, Channels(), "got _Heads at 'encoder.0.own'"),
        ("perceptron", {}, Channels(0.01), "expected units to take away, got none"),
        ("perceptron", {"targets": None}, TaylorChannels(), "expected targets or a teacher to judge weights by"),
        ("perceptron", {"inputs": rows("perceptron", 0)}, TaylorChannels(), "expected rows to judge weights by, got 0"),
        ("perceptron", {"loss": lambda out, _: out[:, 0] / 0}, TaylorChannels(), "expected a finite loss on the rows"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(kind, changes, step, message):
    with pytest.raises(ShrinkError, match=message):
        step.apply(made(kind), dataclasses.replace(material(kind), **changes), RNG)


def test_grouped_convolutions_that_are_not_depthwise_and_what_they_read_stay():
    module = nn.Sequential(
        nn.Conv2d(1, 16, 1), nn.Conv2d(16, 16, 1, groups=2), nn.Conv2d(16, 32, 1), nn.Conv2d(32, 3, 1)
    ).eval()
    given = dataclasses.replace(material("resnet"))
    smaller = Channels().apply(module, given, RNG)
    assert [layer.out_channels for layer in smaller] == [16, 16, 16, 3]


def test_groups_are_the_same_for_tokens_of_any_shape_of_row():
    module = nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 5)).eval()
    groups = channel_groups(module, example_of((6,), np.dtype(np.int64)))
    assert {group.name: group.units for group in groups} == {"1": 24}


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"ratio": 0}, {"scope": "all"}, {"round_to": 0}])
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        Channels(**options)
