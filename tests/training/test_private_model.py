"""Models that DP-SGD refuses, by name."""

import pytest
import torch
from private_kit import linear, network, perceptron
from torch import nn

from fedcomp.training import UnsupportedModel, check_private_model


@pytest.mark.parametrize("make", [linear, network, perceptron])
def test_sound_models_pass(make):
    check_private_model(make())


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.BatchNorm1d(12), r"layer '1' \(BatchNorm1d\).*use GroupNorm"),
        (nn.BatchNorm2d(12, affine=False), r"layer '1' \(BatchNorm2d\).*use GroupNorm"),
        (nn.InstanceNorm2d(12, track_running_stats=True), r"layer '1' \(InstanceNorm2d\).*track_running_stats=False"),
        (nn.ReLU(inplace=True), r"layer '1' \(ReLU\).*inplace=False"),
        (nn.LSTM(12, 3), r"layer '1' \(LSTM\).*opacus.layers.DPLSTM"),
        (nn.RNN(12, 3), r"layer '1' \(RNN\).*opacus.layers.DPRNN"),
        (nn.MultiheadAttention(12, 3), r"layer '1' \(MultiheadAttention\).*DPMultiheadAttention"),
    ],
)
def test_layers_that_break_privacy_are_refused_by_name(layer, words):
    with pytest.raises(UnsupportedModel, match=words) as caught:
        check_private_model(nn.Sequential(nn.Linear(12, 12), layer))
    assert caught.value.exit_code == 2


def test_every_problem_is_named_at_once():
    module = nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 3), nn.ReLU(inplace=True))
    with pytest.raises(UnsupportedModel) as caught:
        check_private_model(module)
    assert len(caught.value.problems) == 2


def test_a_model_in_eval_mode_passes():
    module = network().eval()
    check_private_model(module)
    assert not module.training


def test_nothing_to_train_is_refused():
    with pytest.raises(UnsupportedModel, match="no parameter that requires a gradient"):
        check_private_model(nn.Sequential(nn.Flatten()))


def test_parameters_beside_buffers_are_refused():
    module = linear()
    module.register_buffer("mean", torch.zeros(3))
    with pytest.raises(UnsupportedModel, match=r"the model itself \(Linear\) has both parameters and buffers"):
        check_private_model(module)
