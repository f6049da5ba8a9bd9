import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.recurrent import RecurrentUnits
from fedcomp.shrink.widths import resized, widths_of
from fedcomp.tasks.models.conv_gru import conv_gru


class LastStates(nn.Module):
    """Reads the last hidden states of both layers of an LSTM."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 16, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, rows):
        _, (hidden, _) = self.lstm(rows)
        return self.head(hidden.transpose(0, 1).flatten(1))


class Squashed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, rows):
        return self.head(torch.tanh(self.gru(rows)[0][:, -1] / 7))


CASES = {"gru": (lambda: conv_gru(8, 3, filters=4, hidden=16), (1, 12, 8)), "lstm": (LastStates, (6, 5))}


def material(shape):
    return Material(np.zeros((2, *shape), np.float32), None, "public", lambda outputs, _: outputs[:, 0])


def silence(module, units):
    """Set all weights of these units to zero, so that their hidden state is always zero."""
    layer = next(each for each in module.modules() if isinstance(each, nn.GRU | nn.LSTM))
    with torch.no_grad():
        for name, tensor in layer.named_parameters():
            tensor.reshape(-1, layer.hidden_size, *tensor.shape[1:])[:, list(units)] = 0
            if "weight_hh" in name:
                tensor[:, list(units)] = 0


@pytest.mark.parametrize("name", CASES)
def test_silent_units_leave_without_a_trace(name):
    make, shape = CASES[name]
    module = make().eval()
    silence(module, [1, 2, 3, 7, 8, 11, 14, 15])
    rows = torch.randn(4, *shape)
    smaller = RecurrentUnits(0.5).apply(module, material(shape), np.random.default_rng(0))
    layer = next(each for each in smaller.modules() if isinstance(each, nn.GRU | nn.LSTM))
    assert layer.hidden_size == 8
    with torch.no_grad():
        torch.testing.assert_close(smaller(rows), module(rows), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_smaller_model_can_be_rebuilt_from_its_widths(name):
    make, shape = CASES[name]
    smaller = RecurrentUnits(0.5).apply(make(), material(shape), np.random.default_rng(0))
    rebuilt = resized(make(), widths_of(smaller))
    rebuilt.load_state_dict(smaller.state_dict())
    rows = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(rows), smaller(rows))


def test_what_changes_each_unit_alone_may_lie_before_the_layer_that_reads_it():
    module = Squashed().eval()
    silence(module, range(8, 16))
    smaller = RecurrentUnits(0.5).apply(module, material((6, 5)), np.random.default_rng(0))
    rows = torch.randn(3, 6, 5)
    with torch.no_grad():
        torch.testing.assert_close(smaller(rows), module(rows), atol=1e-6, rtol=1e-5)


class Stacked(nn.Module):
    """A bidirectional GRU that an LSTM reads, step by step, and a convolution over the steps of that."""

    def __init__(self, **options):
        super().__init__()
        self.gru = nn.GRU(5, 16, bidirectional=True, **{"batch_first": True} | options)
        self.lstm = nn.LSTM(32, 24, batch_first=True, bias=False)
        self.head = nn.Conv1d(24, 3, 2)

    def forward(self, rows):
        return self.head(self.lstm(self.gru(rows)[0])[0].transpose(1, 2)).sum(2)


def test_recurrent_layers_and_convolutions_behind_lose_what_they_read():
    module = Stacked().eval()
    smaller = RecurrentUnits(0.5).apply(module, material((6, 5)), np.random.default_rng(0))
    assert (smaller.gru.hidden_size, smaller.lstm.input_size, smaller.lstm.hidden_size) == (8, 16, 16)
    assert smaller.head.weight.shape == (3, 16, 2)


def test_the_units_with_the_largest_weights_stay_in_every_layer_and_direction():
    module = conv_gru(8, 3, filters=4, hidden=16).eval()
    with torch.no_grad():
        for name, tensor in module.gru.named_parameters():
            tensor.fill_(0.01)
            units = range(8) if name.endswith("reverse") else range(0, 16, 2)
            tensor.reshape(3, 16, *tensor.shape[1:])[:, list(units)] = 1.0
        module.head.weight.copy_(torch.arange(96.0).reshape(3, 32) / 1024)
    smaller = RecurrentUnits(0.5).apply(module, material((1, 12, 8)), np.random.default_rng(0))
    assert (smaller.head.weight[0] * 1024).tolist() == [*range(0, 16, 2), *range(16, 24)]


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.norm, self.head = nn.GRU(5, 16, batch_first=True), nn.LayerNorm(16), nn.Linear(16, 3)

    def forward(self, rows):
        return self.head(self.norm(self.gru(rows)[0][:, -1]))


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(5, 16, batch_first=True)

    def forward(self, rows):
        return self.gru(rows)[0][:, -1]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.gru, self.head = nn.Linear(5, 16), nn.GRU(16, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, rows):
        seen = self.first(rows)
        return self.head((seen + self.gru(seen)[0]).mean(1))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Mixed(), "head: expected to read each output of gru alone, got a mixture"),
        (Bare(), "gru: expected layers that read each output alone, but the model puts them out"),
        (Residual(), "layers of Residual no longer fit together"),
        (Stacked(batch_first=False), "gru: expected batch_first=True and proj_size=0, got False and 0"),
        (nn.Linear(5, 2), "expected a GRU or LSTM, got a Linear without"),
    ],
)
def test_units_that_cannot_be_taken_out_alone_are_refused(module, message):
    with pytest.raises(ShrinkError, match=message):
        RecurrentUnits(0.5).apply(module.eval(), material((6, 5)), np.random.default_rng(0))


def test_a_layer_that_is_as_small_as_it_may_become_is_refused():
    with pytest.raises(ShrinkError, match="expected units to take away, got none"):
        RecurrentUnits(0.5, round_to=16).apply(LastStates().eval(), material((6, 5)), np.random.default_rng(0))


@pytest.mark.parametrize("options", [{"ratio": 0.0}, {"ratio": 1.0}, {"round_to": 0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        RecurrentUnits(**options)
