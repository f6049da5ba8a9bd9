"""What a server keeps of its clients' ledgers: the head that came with each update, and the digest of that update.

The lines are chained, and the clients write the chain's head into their own, signed ledgers. So neither side rewrites
what it wrote without the other side's records showing it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcomp.privacy.chain import GENESIS, Form, check_hex, hash_of
from fedcomp.privacy.chain_file import ChainFile
from fedcomp.privacy.events import canonical_json

_NAMES = ("client", "head", "key", "payload", "round")
_FORM = Form("anchor", 1, {"update": frozenset(_NAMES)})
_MAX_NAME = 1024


@dataclass(frozen=True)
class Receipt:
    """What came with one update that was counted.

    Attributes:
        server_round: the round.
        client: the client's name.
        head: the hash of the line of its ledger by which it committed this update.
        key: the public key of its ledger, as hexadecimal.
        payload: the SHA-256 of the update as it came, once it was opened.
    """

    server_round: int
    client: str
    head: str
    key: str
    payload: str

    def __post_init__(self) -> None:
        for name in ("head", "key", "payload"):
            check_hex(name, getattr(self, name), 32)
        if isinstance(self.server_round, bool) or not isinstance(self.server_round, int) or self.server_round < 0:
            raise ValueError(f"server_round must be a whole number of at least 0, got {self.server_round!r}")
        if not isinstance(self.client, str) or not 0 < len(self.client) <= _MAX_NAME:
            raise ValueError(f"client must be a text of 1 to {_MAX_NAME} letters, got {self.client!r:.80}")


@dataclass(frozen=True)
class Anchor:
    """A receipt at its place in the chain."""

    index: int
    prev_hash: str
    receipt: Receipt
    hash: str

    @classmethod
    def after(cls, previous: "Anchor | None", receipt: Receipt) -> "Anchor":
        """Return the anchor that follows ``previous`` (``None``: the first one)."""
        index, prev_hash = _place(previous)
        return cls(index, prev_hash, receipt, hash_of(_content(index, prev_hash, receipt)))

    @classmethod
    def from_line(cls, line: bytes, previous: "Anchor | None") -> "Anchor":
        """Return the anchor in ``line``, which has to be exactly what follows ``previous``; or ``LedgerError``."""
        at, prev_hash = _place(previous)
        tree = _FORM.parse(line, at, prev_hash)
        try:
            values = {name: tree[name] for name in _NAMES if name != "round"}
            found = cls.after(previous, Receipt(server_round=tree["round"], **values))
            written = found.to_line()
        except (ValueError, TypeError) as error:
            raise _FORM.refusal(at, error) from error
        _FORM.check_canonical(line, written, at)
        return found

    def to_line(self) -> bytes:
        """Return the line, newline included."""
        return (
            canonical_json({**_content(self.index, self.prev_hash, self.receipt), "hash": self.hash}).encode() + b"\n"
        )


class Anchors:
    """The anchors of one run, in a file; read and checked whole when it is opened, and never cut or written over.

    Raises:
        LedgerError: if the file is damaged or cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = ChainFile[Anchor](self.path, "anchors", Anchor.from_line, lambda _: None)
        with self._file.mutex:
            self._file.read_on()

    def append(self, receipts: Sequence[Receipt]) -> None:
        """Append one line for each receipt, all synced before this returns.

        A round that runs again after a kill is written again: the file says what came, and when in the order of things.
        """
        with self._file.turn():
            lines: list[Anchor] = []
            for receipt in receipts:
                lines.append(Anchor.after(lines[-1] if lines else self._file.last, receipt))
            if lines:
                self._file.append(lines)

    def head(self) -> str:
        """Return the hash of the last anchor: what the clients keep; 64 zeros if there is none."""
        return self._file.head()

    def lines(self) -> tuple[Anchor, ...]:
        """Return all anchors, oldest first."""
        with self._file.mutex:
            self._file.read_on()
            return tuple(self._file.lines)


def _content(index: int, prev_hash: str, receipt: Receipt) -> dict[str, Any]:
    values = {name: getattr(receipt, name) for name in _NAMES if name != "round"}
    common = {"format": _FORM.number, "index": index, "kind": "update", "prev_hash": prev_hash}
    return {**common, **values, "round": receipt.server_round}


def _place(previous: Anchor | None) -> tuple[int, str]:
    return (0, GENESIS) if previous is None else (previous.index + 1, previous.hash)
