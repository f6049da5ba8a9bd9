"""fedcomp: federated, privacy-preserving compression.

The public names below are loaded when they are asked for, so that a device that only decodes payloads needs numpy and
nothing else.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedcomp.codecs import codec_from_config
    from fedcomp.config import Config, load_config
    from fedcomp.simulation import resume, simulate

__version__ = "0.1.0"
__all__ = ["Config", "codec_from_config", "load_config", "resume", "simulate"]

_HOMES = {
    "Config": "config",
    "codec_from_config": "codecs",
    "load_config": "config",
    "resume": "simulation",
    "simulate": "simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
