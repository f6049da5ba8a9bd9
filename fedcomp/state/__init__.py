"""What a client keeps between messages."""

from fedcomp.state.base import ClientState, StateError
from fedcomp.state.directory import DirectoryClientState
from fedcomp.state.sqlite import SqliteClientState

__all__ = ["ClientState", "DirectoryClientState", "SqliteClientState", "StateError"]
