"""Where a client keeps what is its own, and who it is: read from Flower's node and run config.

``state-dir`` names the directory. With ``key-file`` (an edge device) the state is encrypted with that key, which is
also the client's key pair; without it (a simulation) all clients share one SQLite file. ``ledger-key-file`` is the key
that the ledger is signed with; without it that is ``ledger.key`` beside the ledger.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Context

from fedcomp.crypto import KeyPair, public_key_from_text
from fedcomp.crypto.at_rest import StorageCipher
from fedcomp.errors import ConfigError, RunError
from fedcomp.flower.ledgers import open_ledger
from fedcomp.policy import NO_POLICY, Policy, load_policy
from fedcomp.privacy import FileLedger
from fedcomp.run_files import TURNS
from fedcomp.state import ClientState, DirectoryClientState, SqliteClientState


@dataclass(frozen=True)
class Place:
    """One client's identity and belongings."""

    name: str
    index: int
    """Which share of the data is this client's."""
    state: ClientState
    ledger: FileLedger
    key: KeyPair | None
    """The key pair of an edge device; None where a key is made for each run."""
    server_key: bytes | None
    """The server's public key, if it is pinned."""
    directory: Path
    uplink_bytes: int | None
    """What this device's link carries in a round, if it says so."""
    policy: Policy
    """What runs must keep to."""

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no other thread or process answers a message for this client, and keep them waiting.

        Two copies of one message that are answered at the same time would both find the round unanswered, and send two
        noises for one charge. Clients share a few lock files, so that ten thousand of them cost no more.
        """
        stripe = hashlib.sha256(self.name.encode()).hexdigest()[:2]
        try:
            (self.directory / TURNS).mkdir(exist_ok=True)
            descriptor = os.open(self.directory / TURNS / stripe, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise RunError(f"cannot lock the state in {self.directory}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # which gives the lock back


def find_place(context: Context) -> Place:
    """Return the place of the client that ``context`` belongs to.

    Raises:
        ConfigError: if the node config does not say which client this is, or where it may keep its state.
    """
    node = context.node_config
    index = node.get("partition-id")
    if not isinstance(index, int):
        raise ConfigError([f"node config: expected an integer partition-id, got {index!r}"])
    key_file, pinned = str(node.get("key-file", "")), str(node.get("server-public-key", ""))
    directory = node.get("state-dir") or os.environ.get("FEDCOMP_STATE")
    if not directory and not key_file:
        # a simulation on Flower's own engine; a device's ledger lies where the device says, never where the server does
        directory = context.run_config.get("state-dir")
    if not directory:
        raise ConfigError(["node config: expected a state-dir (or FEDCOMP_STATE) to keep the ledger in, got none"])
    state, ledger = _belongings(str(directory), key_file, str(node.get("ledger-key-file", "")))
    return Place(
        name=str(node.get("client-name", f"client-{index}")),
        index=index,
        state=state,
        ledger=ledger,
        key=KeyPair.load(Path(key_file)) if key_file else None,
        server_key=public_key_from_text(pinned) if pinned else None,
        directory=Path(str(directory)),
        uplink_bytes=_uplink_bytes(node.get("uplink-bytes")),
        policy=load_policy(Path(str(node["policy-file"]))) if node.get("policy-file") else NO_POLICY,
    )


def _uplink_bytes(value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError([f"node config: expected uplink-bytes to be a positive integer, got {value!r}"])


def forget_places() -> None:
    """Forget which files were open: for a process in which one run's directory is replaced by another's."""
    _belongings.cache_clear()


@functools.lru_cache(maxsize=8)
def _belongings(directory: str, key_file: str, ledger_key_file: str) -> tuple[ClientState, FileLedger]:
    path = Path(directory)
    state: ClientState
    if key_file:
        state = DirectoryClientState(path, StorageCipher.from_file(Path(key_file)))
    else:
        path.mkdir(parents=True, exist_ok=True)
        state = SqliteClientState(path / "clients.sqlite")
    return state, open_ledger(path / "ledger.jsonl", Path(ledger_key_file) if ledger_key_file else None)
