"""Local training: plain SGD, and DP-SGD with Opacus (the only folder that imports it)."""

from fedcomp.training.dpsgd import train_private
from fedcomp.training.local import TrainResult, train_plain
from fedcomp.training.model_state import get_arrays, set_arrays
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
