import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.pruning.probe import poison_last, readers

ROW = torch.ones(1, 4)


class Wired(nn.Module):
    """A layer of 5 outputs, and whatever is done to them before another layer reads them."""

    def __init__(self, reader, between):
        super().__init__()
        self.layer, self.reader, self.between = nn.Linear(4, 5), reader, between

    def forward(self, rows):
        return self.reader(self.between(self.layer(rows), rows))


def found(reader, between, units=5):
    return readers(Wired(reader, between), "layer", units, poison_last, ROW)


@pytest.mark.parametrize(
    ("reader", "between", "numbers"),
    [
        (nn.Linear(5, 2), lambda seen, _: torch.tanh(seen) / 7 - 1, [0, 1, 2, 3, 4]),
        (nn.Linear(5, 2), lambda seen, _: seen.flip(1), [4, 3, 2, 1, 0]),
        (nn.Linear(9, 2), lambda seen, rows: torch.cat([rows, seen], 1), [-1, -1, -1, -1, 0, 1, 2, 3, 4]),
        (nn.Linear(10, 2), lambda seen, _: seen[:, None].expand(-1, 2, -1).flatten(1), [0, 1, 2, 3, 4] * 2),
        (
            nn.Linear(10, 2),
            lambda seen, _: seen[:, :, None].expand(-1, -1, 2).flatten(1),
            [0, 0, 1, 1, 2, 2, 3, 3, 4, 4],
        ),
        (nn.Linear(3, 2), lambda seen, _: seen[:, 1:4], [1, 2, 3]),
        (nn.Conv1d(5, 2, 1), lambda seen, _: seen[:, :, None].expand(-1, -1, 3), [0, 1, 2, 3, 4]),
        (nn.GRUCell(5, 2), lambda seen, _: seen, None),
    ],
)
def test_inputs_are_told_apart_by_the_outputs_that_they_come_from(reader, between, numbers):
    if numbers is None:
        with pytest.raises(ShrinkError, match="the model puts them out or mixes them"):
            found(reader, between)
    else:
        assert found(reader, between)["reader"].tolist() == numbers


@pytest.mark.parametrize("units", [1, 2, 3, 64, 100])
def test_any_number_of_outputs_is_told_apart(units):
    module = nn.Sequential(nn.Linear(4, units), nn.ReLU(), nn.Linear(units, 2))
    assert readers(module, "0", units, poison_last, ROW)["2"].tolist() == list(range(units))


def test_only_the_next_layers_are_readers_and_each_place_counts_once():
    module = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 2))
    assert list(readers(module, "0", 5, poison_last, torch.ones(1, 3, 4))) == ["1"]


@pytest.mark.parametrize(
    "between",
    [
        lambda seen, _: seen.cumsum(1),
        lambda seen, _: nn.functional.layer_norm(seen, [5]),
        lambda seen, _: seen + seen.flip(1),
    ],
)
def test_mixtures_are_refused(between):
    with pytest.raises(ShrinkError, match="reader: expected to read each output of layer alone, got a mixture"):
        found(nn.Linear(5, 2), between)


def test_a_layer_that_reads_twice_in_two_orders_is_refused():
    class Twice(nn.Module):
        def forward(self, seen):
            return shared(seen) + shared(seen.flip(1))

    shared = nn.Linear(5, 2)
    reader = Twice()
    reader.shared = shared
    with pytest.raises(ShrinkError, match=r"reader\.shared: expected to read the same of layer each time"):
        found(reader, lambda seen, _: seen)


def test_the_module_is_left_as_it_came():
    module = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 2)).train()
    state = torch.get_rng_state()
    assert np.array_equal(readers(module, "0", 5, poison_last, ROW)["2"], np.arange(5))
    assert module.training
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in module.modules())
    assert torch.equal(torch.get_rng_state(), state)
