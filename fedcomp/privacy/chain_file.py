"""A chain in a file that several threads and processes append to, whole and synced before an append returns.

A last line without its newline was never acknowledged. Still, if it is complete but for the newline it is kept, because
keeping too much is safe; otherwise it is cut off before the next append. Reading changes nothing.
"""

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from fedcomp.files import append_synced
from fedcomp.privacy.chain import GENESIS, LedgerError


class Chained(Protocol):
    """One line of a chain."""

    @property
    def hash(self) -> str:
        """Its own hash."""
        ...

    def to_line(self) -> bytes:
        """Return the line, newline included."""
        ...


L = TypeVar("L", bound=Chained)


class ChainFile(Generic[L]):
    """The lines of one file, read and checked once; after that only what others have appended is read.

    Writers take turns by ``flock`` on ``<path>.lock``, on a file system that has it.

    Args:
        path: the file; it need not exist yet.
        name: what it is called in refusals; a line is an entry of that.
        read: returns the line that follows another one, or raises ``LedgerError``.
        take_in: is called with each line in order, and may refuse it.
    """

    def __init__(
        self, path: Path, name: str, read: Callable[[bytes, L | None], L], take_in: Callable[[L], None]
    ) -> None:
        self.path, self._name, self._read, self._take_in = path, name, read, take_in
        self.mutex = threading.RLock()
        self.lines: list[L] = []
        self._size = 0  # bytes read and checked so far; always the end of a line

    @property
    def last(self) -> L | None:
        """The last line, if there is one."""
        return self.lines[-1] if self.lines else None

    def head(self) -> str:
        """Return the hash of the last line; 64 zeros if there is none."""
        with self.mutex:
            self.read_on()
            return self.lines[-1].hash if self.lines else GENESIS

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Be the only writer, with everything read that is there and a torn last line dealt with.

        Raises:
            LedgerError: if the file is damaged, or cannot be locked.
        """
        with self.mutex, writers_turn(self.path, self._name):
            self._mend(self.read_on())
            yield

    def append(self, lines: Sequence[L]) -> None:
        """Append lines in one write, synced; in a turn."""
        append_synced(self.path, b"".join(line.to_line() for line in lines))
        self.read_on()

    def read_on(self) -> bytes:
        """Check and take in what was appended since the last time; return what follows the last newline."""
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < self._size:
                raise LedgerError(
                    f"{self._name} {self.path}: expected at least {self._size} bytes, got {size}: it was cut"
                )
            if size == self._size:
                return b""
            with self.path.open("rb") as file:
                file.seek(self._size)
                *lines, tail = file.read().split(b"\n")
        except OSError as error:
            raise LedgerError(f"cannot read {self._name} {self.path}: {error.strerror}") from error
        for content in lines:
            line = self._read(content + b"\n", self.last)
            self._take_in(line)
            self.lines.append(line)
            self._size += len(content) + 1
        if self._is_line(tail[:-1]):
            # A torn line is a prefix of a line; one byte too many is a newline that was changed into something else.
            raise LedgerError(f"{self._name} entry {len(self.lines)}: its newline was changed")
        return tail

    def _mend(self, tail: bytes) -> None:
        if self._is_line(tail):
            append_synced(self.path, b"\n")
            self.read_on()
        elif tail:
            try:
                with self.path.open("r+b") as file:
                    file.truncate(self._size)
                    os.fsync(file.fileno())
            except OSError as error:
                raise LedgerError(f"cannot cut the torn line off {self._name} {self.path}: {error.strerror}") from error

    def _is_line(self, content: bytes) -> bool:
        if not content:
            return False
        try:
            self._read(content + b"\n", self.last)
        except LedgerError:
            return False
        return True


@contextlib.contextmanager
def writers_turn(path: Path, name: str = "ledger") -> Iterator[None]:
    """Wait until no other process or thread is writing the file at ``path``, and keep them waiting."""
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise LedgerError(f"cannot lock {name} {path}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # which gives the lock back
