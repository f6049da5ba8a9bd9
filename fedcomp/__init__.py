"""fedcomp: federated, privacy-preserving compression."""

from fedcomp.config import Config, load_config

__all__ = ["Config", "load_config"]
__version__ = "0.1.0"
