"""A module's state as named arrays."""

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.arrays import ArraysError, digest
from fedcomp.training import get_arrays, set_arrays


def model() -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    module[2].bias.requires_grad_(False)
    return module


def test_round_trip():
    source, target = model(), model()
    arrays = get_arrays(source)
    set_arrays(target, dict(reversed(arrays.items())))
    assert digest(get_arrays(target)) == digest(arrays)


def test_holds_trainable_parameters_and_floating_buffers_only():
    assert list(get_arrays(model())) == [
        *("0.weight", "0.bias", "1.weight", "1.bias", "2.weight"),
        *("1.running_mean", "1.running_var"),
    ]


def test_arrays_are_copies_in_both_directions():
    module = nn.Linear(2, 2)
    arrays = get_arrays(module)
    arrays["weight"][:] = 7
    assert not (get_arrays(module)["weight"] == 7).any()
    set_arrays(module, arrays)
    arrays["weight"][:] = 8
    assert (get_arrays(module)["weight"] == 7).all()


def test_names_have_no_wrapper_prefix():
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._module = nn.Linear(2, 2)

    assert list(get_arrays(Wrapper())) == ["weight", "bias"]


def test_buffers_that_are_not_saved_are_left_out():
    module = nn.Linear(2, 2)
    module.register_buffer("scratch", torch.zeros(3), persistent=False)
    assert "scratch" not in get_arrays(module)


def test_read_only_arrays_can_be_set():
    module, arrays = nn.Linear(2, 2), get_arrays(nn.Linear(2, 2))
    for array in arrays.values():
        array.flags.writeable = False
    set_arrays(module, arrays)
    assert digest(get_arrays(module)) == digest(arrays)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda arrays: arrays.pop("bias"), r"none named \['bias'\]"),
        (lambda arrays: arrays.update(extra=np.zeros(1)), r"unknown \['extra'\]"),
        (
            lambda arrays: arrays.update(bias=np.zeros(3, np.float32)),
            r"'bias': expected float32\[2\], got float32\[3\]",
        ),
        (lambda arrays: arrays.update(bias=np.zeros(2)), r"'bias': expected float32\[2\], got float64\[2\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_nothing_is_written(change, words):
    module = nn.Linear(2, 2)
    before = digest(get_arrays(module))
    arrays = {name: array + 1 for name, array in get_arrays(module).items()}
    change(arrays)
    with pytest.raises(ArraysError, match=words):
        set_arrays(module, arrays)
    assert digest(get_arrays(module)) == before


def test_a_dtype_that_numpy_lacks_is_refused_by_name():
    with pytest.raises(ArraysError, match=r"'weight'.*bfloat16"):
        get_arrays(nn.Linear(2, 2).to(torch.bfloat16))
