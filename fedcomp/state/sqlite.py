"""The states of a simulation's clients in one SQLite file.

Equal values are stored once (addressed by their SHA-256): a thousand clients that hold the same released model cost one
copy, and a client that never trained costs nothing. Several worker processes may use the file at the same time.
"""

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedcomp.state.base import StateError

_HEADER_BYTES = 100
_SCHEMA = """
CREATE TABLE IF NOT EXISTS content (hash BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (
    client TEXT NOT NULL, name TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (client, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_by_hash ON entry (hash);
"""


class SqliteClientState:
    """Implements ``ClientState`` for many clients; open it once a process."""

    def __init__(self, path: Path, *, timeout: float = 60.0) -> None:
        self.path = path
        # SQLite takes a file that is shorter than its header for a new one; empty is what another process just made
        if path.is_file() and 0 < (size := path.stat().st_size) < _HEADER_BYTES:
            raise StateError(f"client states in {path}: the file is damaged, it has {size} bytes")
        with _refusals(path):
            # isolation_level=None: transactions are written out below, so that a save is one of them
            self._connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
            # FULL: a save that returned survives a power cut, because an update may leave right after it
            self._connection.execute("PRAGMA synchronous=FULL")
            _set_up(self._connection, timeout)

    def load(self, client: str) -> dict[str, bytes]:
        """Return the client's state; see ``ClientState.load``."""
        query = "SELECT name, hash, value FROM entry LEFT JOIN content USING (hash) WHERE client = ? ORDER BY name"
        with _refusals(self.path):
            rows = self._connection.execute(query, (client,)).fetchall()
        state = {}
        for name, digest, value in rows:
            if not isinstance(value, bytes) or hashlib.sha256(value).digest() != digest:
                raise StateError(f"{self.path}: entry {name!r} of {client} is damaged: its content and its hash differ")
            state[name] = value
        return state

    def save(self, client: str, state: Mapping[str, bytes]) -> None:
        """Replace the client's state; see ``ClientState.save``."""
        wanted = {name: (hashlib.sha256(value).digest(), value) for name, value in state.items()}
        with _refusals(self.path), self._transaction() as connection:
            former = connection.execute("SELECT name, hash FROM entry WHERE client = ?", (client,)).fetchall()
            for name, digest in former:
                if name in wanted and wanted[name][0] == digest:
                    del wanted[name]
                else:
                    connection.execute("DELETE FROM entry WHERE client = ? AND name = ?", (client, name))
            for name, (digest, value) in wanted.items():
                # asked first, because handing a megabyte to SQLite costs more than finding that it is there
                if not connection.execute("SELECT 1 FROM content WHERE hash = ?", (digest,)).fetchone():
                    connection.execute("INSERT INTO content VALUES (?, ?)", (digest, value))
                connection.execute("INSERT INTO entry VALUES (?, ?, ?)", (client, name, digest))
            for _, digest in former:
                connection.execute(
                    "DELETE FROM content WHERE hash = ? AND NOT EXISTS (SELECT 1 FROM entry WHERE hash = ?)",
                    (digest, digest),
                )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            # a failed commit leaves the transaction open, a full disk has rolled it back already
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def _set_up(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to the write-ahead log and make the tables.

    SQLite does not wait for other processes that are switching at the same moment, whatever its timeout: it says locked
    at once, and the switch has to be tried again.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(_SCHEMA)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(f"client states in {path}: {error}") from error
