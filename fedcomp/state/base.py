"""The contract of what a client keeps between messages: its key, the model it holds, its last reply, its residual.

A state is a mapping from short names to bytes. ``save`` is atomic and durable: whenever the process is killed, ``load``
returns the state before the save or the one after it, whole. All of it is private data and never leaves the client.
"""

from collections.abc import Mapping
from typing import Protocol

from fedcomp.errors import FedcompError


class StateError(FedcompError):
    """A state that cannot be read or written; a client with one does not train."""

    exit_code = 4


class ClientState(Protocol):
    """Keeps the states of one or many clients."""

    def load(self, client: str) -> dict[str, bytes]:
        """Return the client's state; empty if nothing was saved.

        Raises:
            StateError: if what is stored is damaged or cannot be read. It is never taken for an empty state.
        """
        ...

    def save(self, client: str, state: Mapping[str, bytes]) -> None:
        """Replace the client's whole state.

        Raises:
            StateError: if it cannot be written; the former state is still there.
        """
        ...
