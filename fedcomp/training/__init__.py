"""Local training: plain SGD, and DP-SGD with Opacus (the only folder that imports it).

What needs Opacus is loaded when it is asked for: importing it takes seconds, which a device without a private mode, or
a worker that starts for one message, need not spend.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fedcomp.training.local import TrainResult, train_plain
from fedcomp.training.model_state import get_arrays, set_arrays

if TYPE_CHECKING:
    from fedcomp.training.dpsgd import train_private
    from fedcomp.training.private_model import UnsupportedModel, check_private_model

__all__ = [
    "TrainResult",
    "UnsupportedModel",
    "check_private_model",
    "get_arrays",
    "set_arrays",
    "train_plain",
    "train_private",
]

_HOMES = {
    "UnsupportedModel": "private_model",
    "check_private_model": "private_model",
    "train_private": "dpsgd",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
