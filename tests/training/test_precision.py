"""Mixed-precision local training."""

import numpy as np
import pytest
import torch
from private_kit import cross_entropy, seeded
from torch import nn

from fedcomp.arrays import digest
from fedcomp.errors import ConfigError
from fedcomp.tasks.base import Split
from fedcomp.training import get_arrays, train_plain
from fedcomp.training.precision import check_precision, gains, in_precision


def convolutional(dropout: float = 0.0) -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(72, 3),
        )
    )


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.gru, self.last = nn.Embedding(9, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.last(self.gru(self.embed(tokens))[0][:, -1])


def images(count: int = 60) -> Split:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, count)
    inputs = rng.standard_normal((count, 2, 8, 8)).astype(np.float32) + targets[:, None, None, None] - 1
    return Split(inputs.astype(np.float32), targets, inputs.astype(np.float32))


def tokens() -> Split:
    rows = np.random.default_rng(0).integers(0, 9, (40, 7))
    return Split(rows, rows[:, -1] % 3, rows)


def train(module: nn.Module, split: Split, precision: str = "bfloat16", **changes):
    options = {"local_epochs": 3, "batch_size": 16, "learning_rate": 0.05, "momentum": 0.5} | changes
    rng = np.random.default_rng(0)
    return train_plain(module, split, loss=cross_entropy, rng=rng, precision=precision, **options)


@pytest.mark.parametrize(("make", "split"), [(convolutional, images()), (lambda: seeded(Recurrent), tokens())])
def test_the_update_is_float32_and_close_to_that_of_full_precision(make, split):
    mixed, full = train(make(), split), train(make(), split, "float32")
    assert {array.dtype for array in mixed.update.values()} == {np.dtype(np.float32)}
    assert all(array.flags.c_contiguous for array in mixed.update.values())
    ours, theirs = (np.concatenate([a.ravel() for a in result.update.values()]) for result in (mixed, full))
    assert np.linalg.norm(ours - theirs) < 0.05 * np.linalg.norm(theirs)
    assert mixed.loss == pytest.approx(full.loss, rel=0.02)


def test_equal_seeds_give_equal_bits_and_others_than_full_precision():
    mixed, again = (train(convolutional(0.2), images()) for _ in range(2))
    full = train(convolutional(0.2), images(), "float32")
    assert digest(mixed.update) == digest(again.update) != digest(full.update)


def test_it_learns_what_full_precision_learns():
    module = convolutional()
    first, later = train(module, images()), train(module, images(), local_epochs=20)
    assert later.loss < 0.5 * first.loss


def test_products_are_computed_in_bfloat16_with_channels_last_and_the_module_comes_back_as_it_was():
    module, seen = convolutional(), []
    before = get_arrays(module)
    module[2].register_forward_hook(lambda _, inputs, outputs: seen.append((inputs[0], outputs)))
    parameters = list(module.parameters())
    with in_precision(module, "bfloat16") as forward:
        outputs = forward(torch.from_numpy(images().inputs))
        assert parameters[0].is_contiguous(memory_format=torch.channels_last)
    ((taken, given),) = seen
    assert given.dtype == torch.bfloat16
    assert taken.is_contiguous(memory_format=torch.channels_last)
    assert outputs.dtype == torch.float32
    assert all(a is b and a.is_contiguous() for a, b in zip(parameters, module.parameters(), strict=True))
    assert digest(get_arrays(module)) == digest(before)


def test_full_precision_is_the_module_itself():
    module = convolutional()
    with in_precision(module, "float32") as forward:
        assert forward is module


def test_the_layout_is_put_back_after_a_failure():
    module = convolutional()
    with pytest.raises(RuntimeError, match="expected input"):
        train(module, Split(np.ones((4, 3, 8, 8), np.float32), np.zeros(4, np.int64), np.ones((4, 3), np.float32)))
    assert all(parameter.is_contiguous() for parameter in module.parameters())


def test_clipping_by_example_stays_in_full_precision():
    check_precision("float32", by_example=True)
    check_precision("bfloat16", by_example=False)
    with pytest.raises(ConfigError, match=r"training.precision: expected float32 under DP-SGD, .* got 'bfloat16'"):
        check_precision("bfloat16", by_example=True)


def test_a_precision_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="expected float32 or bfloat16, got 'float16'"):
        train(convolutional(), images(), "float16")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n", True),
        ("flags : fpu amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags : fpu avx512f avx512_vnni\nbugs : bf16\n", False),
        ("", False),
    ],
)
def test_hardware_gains_if_the_processor_says_that_it_multiplies_bfloat16(tmp_path, content, expected):
    (tmp_path / "cpuinfo").write_text(content)
    assert gains(tmp_path / "cpuinfo") is expected


def test_without_a_list_of_flags_nothing_is_promised(tmp_path):
    assert gains(tmp_path / "gone") is False
