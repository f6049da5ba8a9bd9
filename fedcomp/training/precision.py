"""Mixed-precision local training: products in bfloat16, weights, sums and the update in float32.

Micikevicius et al., *Mixed precision training* (2018); Kalamkar et al., *A study of BFLOAT16 for deep learning
training* (2019): bfloat16 has the range of float32, so losses need no scaling.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from fedcomp.errors import ConfigError

Precision = Literal["float32", "bfloat16"]

_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls instructions that multiply bfloat16, on x86 and on Arm."""
_CPUINFO = Path("/proc/cpuinfo")


def gains(cpuinfo: Path = _CPUINFO) -> bool:
    """Return whether this machine multiplies bfloat16 in hardware, so that mixed precision is faster and not slower.

    Without a file of the processor's flags, on systems other than Linux, the answer is False.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    fields = (line.partition(":") for line in lines)
    return any(
        name.strip() in ("flags", "Features") and not _FLAGS.isdisjoint(words.split()) for name, _, words in fields
    )


def check_precision(precision: str, *, by_example: bool) -> None:
    """Refuse a precision that there is not, or that a privacy mode which clips gradients by example cannot have.

    There the sensitivity is the norm of one example's gradient. Rounded to bfloat16 a norm is off by up to 2**-9 of
    itself, and then the noise is calibrated to a bound that does not hold.

    Raises:
        ConfigError: naming what was expected and what came.
    """
    if precision not in get_args(Precision):
        expected = " or ".join(get_args(Precision))
        raise ConfigError([f"training.precision: expected {expected}, got {precision!r}"])
    if by_example and precision != "float32":
        why = "the gradients of examples are clipped, and their norms have to be exact"
        raise ConfigError([f"training.precision: expected float32 under DP-SGD, where {why}; got {precision!r}"])


@contextmanager
def in_precision(module: nn.Module, precision: str) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Give the function that computes ``module``'s outputs, in float32, of rows, in float32.

    With ``bfloat16`` convolutions and products run in it, and images lie with their channels last, which is what the
    kernels want; the module's parameters stay in float32 and come back as they lay. With ``float32`` the function is
    the module. Equal module and rows give equal bits on one thread in either.

    Raises:
        ConfigError: for another precision.
    """
    check_precision(precision, by_example=False)
    if precision == "float32":
        yield module
        return

    def outputs(rows: torch.Tensor) -> torch.Tensor:
        images = rows.contiguous(memory_format=torch.channels_last) if rows.ndim == 4 else rows
        # a block for each step: inside of one, weights are cast once and a step later they are others
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answers: torch.Tensor = module(images)
        return answers.float()

    _lay(module, torch.channels_last)
    try:
        yield outputs
    finally:
        _lay(module, torch.contiguous_format)


def _lay(module: nn.Module, memory_format: torch.memory_format) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.contiguous(memory_format=memory_format)
