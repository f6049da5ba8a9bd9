"""Flower: the only folder that knows it. Messages are carried here; arithmetic lives below.

``client_app()`` and ``server_app()`` are the two apps, ``LocalGrid`` the engine that runs them in this process. Names
are loaded when they are asked for: a LocalGrid with somebody else's app needs neither torch nor our privacy stack.
"""

import importlib
from typing import Any

_HOMES = {"LocalGrid": "grid", "client_app": "client", "server_app": "server"}

__all__ = ["LocalGrid", "client_app", "server_app"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
