"""Runtimes by name: the programs that a model can be exported to."""

from collections.abc import Mapping
from types import MappingProxyType

from fedcomp.errors import ConfigError
from fedcomp.runtimes.base import Runtime
from fedcomp.runtimes.executorch import ExecuTorch
from fedcomp.runtimes.onnx_runtime import OnnxRuntime
from fedcomp.runtimes.openvino import OpenVino

RUNTIMES: Mapping[str, Runtime] = MappingProxyType({one.name: one for one in (OnnxRuntime(), ExecuTorch(), OpenVino())})
"""Every runtime by its name, the core one first. A new one is a file and a word here.

PyTorch itself is none of them: no device gets a file of it; see ``fedcomp.runtimes.eager``.
"""


def runtime(name: str) -> Runtime:
    """Return the runtime of this name, installed or not.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in RUNTIMES:
        raise ConfigError([f"runtime: expected one of {', '.join(RUNTIMES)}, got {name!r}"])
    return RUNTIMES[name]
