"""Plain local training."""

import numpy as np
import pytest
import torch
from private_kit import cross_entropy, linear, network, rows, seeded
from torch import nn

from fedcomp.arrays import digest, subtract
from fedcomp.errors import DataError
from fedcomp.tasks.base import Split
from fedcomp.threads import single_thread
from fedcomp.training import get_arrays, train_plain


def train(module: nn.Module, split: Split | None = None, seed: int = 0, **changes):
    values = {"local_epochs": 2, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.5} | changes
    with single_thread():
        return train_plain(
            module, rows() if split is None else split, loss=cross_entropy, rng=np.random.default_rng(seed), **values
        )


def test_equal_seeds_give_equal_bits_and_others_do_not():
    module = seeded(lambda: nn.Sequential(network(), nn.Dropout(0.5)))
    start = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    updates = []
    for seed in (3, 3, 4):
        module.load_state_dict(start)
        updates.append(digest(train(module, seed=seed).update))
        torch.rand(1)  # what others draw from the global generator is of no account
    assert updates[0] == updates[1] != updates[2]


def test_update_is_after_minus_before():
    module = linear()
    before = get_arrays(module)
    result = train(module)
    assert digest(subtract(get_arrays(module), before)) == digest(result.update)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_agrees_with_torch_sgd_on_whole_batches(momentum):
    module, reference, split = network(), network(), rows()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.2, momentum=momentum)
    for _ in range(4):
        optimizer.zero_grad()
        outputs = reference(torch.from_numpy(split.inputs))
        cross_entropy(outputs, torch.from_numpy(split.targets)).mean().backward()
        optimizer.step()
    train(module, split, local_epochs=None, local_steps=4, batch_size=20, learning_rate=0.2, momentum=momentum)
    for ours, theirs in zip(module.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)  # rows come in another order


def test_learns_and_reports_the_loss():
    module = linear()
    first, later = train(module, local_epochs=1), train(module, local_epochs=30)
    assert later.loss < first.loss


class Recorder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.batches = nn.Parameter(torch.zeros(12, 3)), []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.batches.append(inputs[:, 0].tolist())
        return inputs @ self.weight


def test_each_epoch_sees_every_row_once_and_keeps_the_small_last_batch():
    recorder, split = Recorder(), rows()
    result = train(recorder, split, local_epochs=3, batch_size=8)
    assert [len(batch) for batch in recorder.batches] == [8, 8, 4] * 3
    assert result.steps == 9
    assert result.num_examples == 20
    epochs = [[row for batch in recorder.batches[start : start + 3] for row in batch] for start in (0, 3, 6)]
    assert all(sorted(epoch) == sorted(split.inputs[:, 0].tolist()) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_local_steps_go_over_as_many_epochs_as_they_take():
    recorder = Recorder()
    assert train(recorder, local_epochs=None, local_steps=4, batch_size=8).steps == 4
    assert [len(batch) for batch in recorder.batches] == [8, 8, 4, 8]


def test_fewer_rows_than_a_batch_are_one_batch():
    recorder = Recorder()
    assert train(recorder, rows(3), local_epochs=1, batch_size=32).steps == 1
    assert len(recorder.batches[0]) == 3


def test_float16_rows_are_trained_on_as_float32(tmp_path):
    np.save(tmp_path / "rows.npy", rows().inputs.astype(np.float16))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    wide = mapped.astype(np.float32)
    narrow = train(linear(), Split(mapped, rows().targets, mapped))
    assert digest(narrow.update) == digest(train(linear(), Split(wide, rows().targets, wide)).update)


def test_module_comes_back_in_its_mode_without_gradients():
    module = linear().eval()
    train(module)
    assert not module.training
    assert all(parameter.grad is None for parameter in module.parameters())


def test_unused_parameters_stay():
    module = linear()
    module.register_parameter("unused", nn.Parameter(torch.ones(2)))
    assert not train(module).update["unused"].any()


def test_global_generator_is_left_alone():
    state = torch.get_rng_state()
    train(seeded(lambda: nn.Sequential(linear(), nn.Dropout(0.5))))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_rows_are_refused():
    with pytest.raises(DataError, match="at least 1 training example, got 0"):
        train(linear(), rows().take(np.arange(0)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"local_steps": 3}, "one of local_steps and local_epochs, got 3 and 2"),
        ({"local_epochs": None}, "one of local_steps and local_epochs, got None and None"),
        ({"local_epochs": 0}, "local_epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be greater than 0, got 0.0"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        train(linear(), **changes)


def test_single_thread_restores_the_number_after_a_failure_too():
    def fail() -> None:
        with single_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError("stop")

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="stop"):
            fail()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
