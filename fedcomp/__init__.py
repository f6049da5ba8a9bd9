"""fedcomp: federated, privacy-preserving compression.

The public names below are loaded when they are asked for, so that a device that only decodes payloads needs numpy and
nothing else.
"""

from typing import TYPE_CHECKING

from fedcomp.lazy import loader

if TYPE_CHECKING:
    from fedcomp.codecs import codec_from_config
    from fedcomp.config import Config, load_config
    from fedcomp.simulation import resume, simulate

__version__ = "0.1.0"
__all__ = ["Config", "codec_from_config", "load_config", "resume", "simulate"]

__getattr__ = loader(
    __name__,
    {
        "Config": "config",
        "codec_from_config": "codecs",
        "load_config": "config",
        "resume": "simulation",
        "simulate": "simulation",
    },
)
