"""Local training: plain SGD, and DP-SGD with Opacus (the only folder that imports it).

What needs Opacus is loaded when it is asked for: importing it takes seconds, which a device without a private mode, or
a worker that starts for one message, need not spend.
"""

from typing import TYPE_CHECKING

from fedcomp.lazy import loader
from fedcomp.training.local import TrainResult, train_plain
from fedcomp.training.model_state import get_arrays, set_arrays

if TYPE_CHECKING:
    from fedcomp.training.dpsgd import clipped_gradient_sum, train_private
    from fedcomp.training.draws import Draws
    from fedcomp.training.engines import EngineChoice, choose_engine
    from fedcomp.training.private_model import UnsupportedModel, check_private_model

__all__ = [
    "Draws",
    "EngineChoice",
    "TrainResult",
    "UnsupportedModel",
    "check_private_model",
    "choose_engine",
    "clipped_gradient_sum",
    "get_arrays",
    "set_arrays",
    "train_plain",
    "train_private",
]

__getattr__ = loader(
    __name__,
    {
        "Draws": "draws",
        "EngineChoice": "engines",
        "UnsupportedModel": "private_model",
        "check_private_model": "private_model",
        "choose_engine": "engines",
        "clipped_gradient_sum": "dpsgd",
        "train_private": "dpsgd",
    },
)
