"""Models that DP-SGD refuses, by name."""

import numpy as np
import pytest
import torch
from private_kit import Tied, cross_entropy, linear, network, seeded
from torch import nn

from fedcomp.training import UnsupportedModel, check_private_model
from fedcomp.training.clipping import GhostClipping, HookClipping
from fedcomp.training.probe import choose_engine

INPUTS, TARGETS = np.full((1, 12), np.nan, np.float32), np.zeros(1, np.int64)


def choose(module: nn.Module, inputs=INPUTS, targets=TARGETS, loss=cross_entropy):
    return choose_engine(module, loss, inputs, targets)


@pytest.mark.parametrize("make", [linear, network, lambda: nn.Sequential(linear(), nn.Dropout(0.5))])
def test_sound_models_pass_and_are_ghost_clipped(make):
    module = make()
    check_private_model(module)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert choose(module) is GhostClipping
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in module.modules())


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


def test_tied_weights_are_clipped_by_hooks():
    assert choose(seeded(Tied)) is HookClipping


class Centred(nn.Module):
    """Mixes the examples of a batch, in no layer that a list could name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs - inputs.mean(dim=0))


class Counting(Centred):
    """Keeps the sum of what it saw in a buffer that is saved with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Module()
        self.seen.register_buffer("total", torch.zeros(12))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.total += inputs.detach().sum(dim=0)
        return self.layer(inputs)


class Escaping(nn.Module):
    """Uses a weight outside of its layer too: Opacus clips by a part of its gradient and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.linear(self.first(inputs).tanh(), 5 * self.first.weight))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Centred, "parameter 'layer.weight'"),
        (Counting, "buffer 'seen.total' changes in training"),
        (Escaping, "parameter 'first.weight'"),
    ],
)
def test_what_only_shows_in_running_is_refused_too(make, words):
    module = seeded(make)
    check_private_model(module)  # nothing to see yet
    with pytest.raises(UnsupportedModel, match=words):
        choose(module)


def test_a_model_that_does_not_take_the_rows_is_refused():
    with pytest.raises(UnsupportedModel, match="no gradient by example"):
        choose(linear(), np.zeros((1, 5), np.float32))


def test_integer_rows():
    module = seeded(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3)))
    assert choose(module, np.zeros((1, 5), np.int64)) is GhostClipping
