"""Accuracy, loss, size and latency of a model."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from fedcomp import evaluation
from fedcomp.evaluation import evaluate, model_cost, per_example_losses


def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def metric(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(dim=1) == targets).double().mean())


class Scaled(nn.Module):
    """Outputs are the inputs, so that every figure can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.scale


ROWS = np.log(np.array([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9], [0.6, 0.4]], np.float32))
TARGETS = np.array([0, 1, 1, 1])


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_figures_by_hand(batch_size):
    result = evaluate(Scaled(), ROWS, TARGETS, loss, metric, batch_size)
    assert result.accuracy == 0.5
    assert result.loss == pytest.approx(-np.log([0.8, 0.5, 0.9, 0.4]).mean(), abs=1e-6)


def test_metric_sees_all_rows_at_once():
    """A metric that is no mean of batches (a rank, a recall) must not be averaged over them."""
    seen = evaluate(Scaled(), ROWS, TARGETS, loss, lambda outputs, targets: float(len(outputs)), batch_size=3)
    assert seen.accuracy == 4.0


def test_losses_of_each_row():
    losses = per_example_losses(Scaled(), ROWS, TARGETS, loss, batch_size=3)
    assert losses.dtype == np.float64
    np.testing.assert_allclose(losses, -np.log([0.8, 0.5, 0.9, 0.4]), atol=1e-6)


def test_memory_mapped_float16(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS.astype(np.float16))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert evaluate(Scaled(), mapped, TARGETS, loss, metric).accuracy == 0.5


def test_eval_mode_while_it_runs_and_the_old_one_afterwards():
    module = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(2))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    assert evaluate(module, ROWS, TARGETS, loss, metric) == evaluate(module, ROWS, TARGETS, loss, metric)
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_cost(tmp_path):
    module = nn.Sequential(nn.Linear(10, 5), nn.BatchNorm1d(5))
    cost = model_cost(module, np.zeros((3, 10), np.float32), repeats=5, warm_up=1)
    safetensors.torch.save_file(module.state_dict(), tmp_path / "model.safetensors")
    assert cost.parameters == 10 * 5 + 5 + 5 + 5
    assert cost.bytes == (tmp_path / "model.safetensors").stat().st_size
    assert 0 < cost.latency_ms < 1000
    assert module.training


def test_latency_follows_the_work():
    small = model_cost(nn.Linear(8, 8), np.zeros((1, 8), np.float32), repeats=30)
    large = model_cost(nn.Linear(4096, 4096), np.zeros((1, 4096), np.float32), repeats=30)
    assert large.latency_ms > small.latency_ms


def test_tied_weights_can_be_sized():
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    assert model_cost(module, np.zeros((1, 4), np.float32), repeats=2, warm_up=0).parameters == 16 + 4 + 4


def test_what_cannot_be_evaluated_is_refused():
    with pytest.raises(ValueError, match="got 0 rows and 0 targets"):
        evaluate(Scaled(), ROWS[:0], TARGETS[:0], loss, metric)
    with pytest.raises(ValueError, match="got 4 rows and 3 targets"):
        per_example_losses(Scaled(), ROWS, TARGETS[:3], loss)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        evaluate(Scaled(), ROWS, TARGETS, loss, metric, 0)
    with pytest.raises(ValueError, match="one value an example"):
        per_example_losses(Scaled(), ROWS, TARGETS, lambda outputs, targets: loss(outputs, targets).mean())


def test_losses_of_a_confident_model_are_not_rounded_to_one_value():
    rows = np.linspace(20, 30, 50, dtype=np.float32)[:, None]
    module = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0], [0.0]]))
    assert len(np.unique(per_example_losses(module, rows, np.zeros(50, np.int64), loss))) == 50
    single = loss(module(torch.from_numpy(rows)), torch.zeros(50, dtype=torch.int64))
    assert len(torch.unique(single)) < 10  # what the float32 losses would show


class Words(nn.Module):
    """Logits ``[n, 3, 5]`` of rows ``[n, 15]``."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.reshape(-1, 3, 5)


def word_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1)


def word_metric(outputs: torch.Tensor, targets: torch.Tensor) -> float:
    return float((outputs.argmax(dim=2) == targets)[targets > 0].double().mean())


@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_outputs_that_are_too_large_to_hold_give_the_same_figures(monkeypatch, batch_size):
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(50, 15)).astype(np.float32), rng.integers(0, 5, (50, 3))
    outputs, answers = Words()(torch.from_numpy(rows)), torch.from_numpy(targets)
    expected = word_metric(outputs, answers), float(word_loss(outputs, answers).double().mean())
    seen = []

    def watching(given: torch.Tensor, truths: torch.Tensor) -> float:
        seen.append(given)
        return word_metric(given, truths)

    for held in (2**28, 100):
        monkeypatch.setattr(evaluation, "_HELD_BYTES", held)
        monkeypatch.setattr(evaluation, "_PIECE", held)
        found = evaluate(Words(), rows, targets, word_loss, watching, batch_size)
        assert (found.accuracy, found.loss) == expected
    assert torch.equal(seen[0], outputs)
    assert torch.equal(seen[1], outputs)
    seen[1].zero_()  # as a metric may that works in place
    losses = per_example_losses(Words(), rows, targets, word_loss, batch_size)
    np.testing.assert_array_equal(losses, word_loss(outputs.double(), answers).numpy())


def test_a_loss_of_a_batch_is_no_loss_of_its_examples():
    with pytest.raises(ValueError, match=r"one value an example, \[4\], got \[\]"):
        evaluate(Scaled(), ROWS, TARGETS, lambda outputs, targets: loss(outputs, targets).mean(), metric)
