"""The state of an edge device's client: an encrypted file, in a directory that one process holds at a time."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fedcomp.errors import FedcompError, RunError
from fedcomp.files import write_atomic
from fedcomp.state.base import StateError

_HEAD = b"fedcomp.state.1\n"


class Cipher(Protocol):
    """Authenticated encryption of what lies on a disk."""

    def encrypt(self, content: bytes, associated_data: bytes) -> bytes:
        """Return the content encrypted, bound to ``associated_data``."""
        ...

    def decrypt(self, content: bytes, associated_data: bytes) -> bytes:
        """Return the content; raises ``FedcompError`` if it was changed or belongs to other associated data."""
        ...


class DirectoryClientState:
    """Implements ``ClientState`` in a directory, encrypted by ``cipher``.

    The directory is locked until ``close``; a second process is refused, because two writers would overwrite each
    other's spent budget.
    """

    def __init__(self, path: Path, cipher: Cipher) -> None:
        self.path, self._cipher = path, cipher
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateError(f"client state in {path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StateError(
                f"client state in {path}: expected to be the only user, another process holds it"
            ) from error
        self._lock: int | None = lock
        for leftover in path.glob(".*.state.*"):
            # what a killed save left behind; the lock says that nobody is writing it now
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)

    def load(self, client: str) -> dict[str, bytes]:
        """Return the client's state; see ``ClientState.load``."""
        try:
            sealed = self._file(client).read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StateError(f"state of {client} in {self.path}: {error.strerror}") from error
        try:
            return _unpack(self._cipher.decrypt(sealed, _HEAD + client.encode()))
        except (FedcompError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"state of {client} in {self.path} is damaged or made with another key") from error

    def save(self, client: str, state: Mapping[str, bytes]) -> None:
        """Replace the client's state; see ``ClientState.save``."""
        if self._lock is None:
            raise StateError(f"client state in {self.path}: expected the directory to be held, it was closed")
        try:
            write_atomic(self._file(client), self._cipher.encrypt(_pack(state), _HEAD + client.encode()))
        except RunError as error:
            raise StateError(str(error)) from error

    def close(self) -> None:
        """Release the directory; nothing can be saved through this object any more."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _file(self, client: str) -> Path:
        # the name comes from a config: hashed, it cannot step out of the directory
        return self.path / f"{hashlib.sha256(client.encode()).hexdigest()[:32]}.state"


def _pack(state: Mapping[str, bytes]) -> bytes:
    index = json.dumps([[name, len(value)] for name, value in state.items()]).encode()
    return len(index).to_bytes(4, "little") + index + b"".join(state.values())


def _unpack(content: bytes) -> dict[str, bytes]:
    start = 4 + int.from_bytes(content[:4], "little")
    state = {}
    for name, size in json.loads(content[4:start]):
        state[str(name)] = content[start : start + size]
        start += size
    if start != len(content):
        raise ValueError("lengths do not add up")
    return state
