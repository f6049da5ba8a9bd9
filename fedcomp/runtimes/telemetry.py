"""The one door to ONNX Runtime: it is imported here, after its telemetry was switched off, and nowhere else.

From 1.29 on ONNX Runtime's Linux wheels report to Microsoft unless ``ORT_DISABLE_TELEMETRY=1`` stood in the environment
when the library was loaded; what is set later stops later events only. Older wheels have nothing to switch off.
"""

import importlib.util
import os
import sys
from typing import Any

from fedcomp.runtimes.base import ExportError

KILL_SWITCH = "ORT_DISABLE_TELEMETRY"
_INSTALL = "pip install 'fedcomp[edge]'"
_FIRST_REPORTING = (1, 29)


def missing_onnx_runtime() -> str | None:
    """Return the command that installs what writing, checking and running ONNX files needs, or None if it is here."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            found = importlib.util.find_spec(name)
        except ValueError:  # a module without a spec, or one that is barred
            found = None
        if found is None:
            return _INSTALL
    return None


def onnxruntime_module() -> Any:
    """Return ONNX Runtime, imported with its telemetry switched off.

    Raises:
        ExportError: if it is not installed, with the command that installs it; or if somebody else has already imported
            a version that reports while the switch was off, so that reports may be under way.
    """
    loaded, switched = "onnxruntime" in sys.modules, os.environ.get(KILL_SWITCH) == "1"
    os.environ[KILL_SWITCH] = "1"
    try:
        import onnxruntime
    except ImportError as error:
        raise ExportError(f"running an ONNX model needs ONNX Runtime: {_INSTALL}") from error
    version: str = onnxruntime.__version__
    if loaded and not switched and _reports(version):
        raise ExportError(
            f"expected ONNX Runtime {version} to be imported with {KILL_SWITCH}=1 in the environment, but something "
            "imported it before without: it may be reporting; set the variable before the program starts"
        )
    return onnxruntime


def _reports(version: str) -> bool:
    return tuple(int(part) for part in version.split(".")[:2]) >= _FIRST_REPORTING
