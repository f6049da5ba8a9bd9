"""A module's state as named arrays, and back."""

import torch
from torch import nn

from fedcomp.arrays import Array, Arrays, ArraysError

_WRAPPER = "_module."  # what Opacus puts before every name


def get_arrays(module: nn.Module) -> dict[str, Array]:
    """Return copies of what training may change: parameters that require a gradient, then saved buffers.

    Names are those of ``named_parameters`` and ``named_buffers``, without Opacus' ``_module.`` prefix. Integer buffers
    (counters) and frozen parameters are left out: nobody can average the former, and the latter never change.

    Raises:
        ArraysError: for a dtype that numpy does not have (bfloat16), naming the array.
    """
    return {name: _numpy(name, tensor) for name, tensor in _state(module).items()}


def set_arrays(module: nn.Module, arrays: Arrays) -> None:
    """Copy the arrays into the module; they must be exactly those that ``get_arrays`` returns, in any order.

    Everything is checked before anything is written.

    Raises:
        ArraysError: naming the arrays that are missing or unknown, or the one whose shape or dtype differs.
    """
    state = _state(module)
    if missing := [name for name in state if name not in arrays]:
        raise ArraysError(f"expected arrays named {list(state)}, got none named {missing}")
    if unknown := [name for name in arrays if name not in state]:
        raise ArraysError(f"expected arrays named {list(state)}, got unknown {unknown}")
    for name, tensor in state.items():
        expected, array = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}", arrays[name]
        if expected != (found := f"{array.dtype}{list(array.shape)}"):
            raise ArraysError(f"array {name!r}: expected {expected}, got {found}")
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(torch.tensor(arrays[name]))


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {
        name.removeprefix(_WRAPPER): parameter
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and parameter.is_floating_point()
    }
    buffers = [(name, buffer) for name, buffer in module.named_buffers() if buffer.is_floating_point()]
    saved = module.state_dict(keep_vars=True) if buffers else {}
    return state | {name.removeprefix(_WRAPPER): buffer for name, buffer in buffers if name in saved}


def _numpy(name: str, tensor: torch.Tensor) -> Array:
    try:
        array: Array = tensor.detach().cpu().numpy()
    except TypeError as error:
        raise ArraysError(f"array {name!r}: expected float16, float32 or float64, got {tensor.dtype}") from error
    return array.copy()
