"""Flower: the only folder that knows it. Messages are carried here; arithmetic lives below.

``client_app()`` and ``server_app()`` are the two apps, ``LocalGrid`` the engine that runs them in this process. Names
are loaded when they are asked for: a LocalGrid with somebody else's app needs neither torch nor our privacy stack.
"""

from fedcomp.lazy import loader

__all__ = ["LocalGrid", "client_app", "server_app"]

__getattr__ = loader(__name__, {"LocalGrid": "grid", "client_app": "client", "server_app": "server"})
