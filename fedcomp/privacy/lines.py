"""The two kinds of line that a ledger has: what is charged before a release (intent), and what then left (commit).

Each is signed with the ledger's one key (the signature is over its ``hash``), and each names the other side's head that
was known when it was written, as a witness that the other side's records had come so far.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeAlias

from fedcomp.privacy.chain import GENESIS, Form, LedgerError, check_hex, hash_of
from fedcomp.privacy.entry import Charge
from fedcomp.privacy.events import UnsupportedEvent, canonical_json

_SIGNED = frozenset({"key", "signature", "witness"})
_FORM = Form(
    "ledger entry",
    2,
    {
        "intent": _SIGNED | {"charge", "time"},
        "commit": _SIGNED | {"intent", "intent_hash", "released"},
    },
)
_PURPOSE = b"fedcomp ledger 2\n"  # so that nothing else that this key signs is a line, nor a line anything else


class Verifier(Protocol):
    """One public key, and whether it signed something."""

    @property
    def public(self) -> bytes:
        """The public key, 32 bytes."""
        ...

    def verify(self, signature: bytes, content: bytes) -> bool:
        """Return whether this key signed ``content``."""
        ...


class Signer(Verifier, Protocol):
    """One key pair."""

    def sign(self, content: bytes) -> bytes:
        """Return the signature of ``content``, 64 bytes."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Link:
    """What every line has. ``witness`` is the other side's head, or empty; key and signature are hexadecimal."""

    index: int
    prev_hash: str
    witness: str = ""
    key: str = ""
    hash: str = ""
    signature: str = ""

    def __post_init__(self) -> None:
        check_hex("witness", self.witness, 32, empty=True)

    def signed_by(self, verifier: Verifier) -> bool:
        """Return whether the line names that key and is signed by it."""
        if self.key != verifier.public.hex():
            return False
        return verifier.verify(bytes.fromhex(self.signature), _PURPOSE + self.hash.encode())

    def to_line(self) -> bytes:
        """Return the line, newline included."""
        return canonical_json({**self._content(), "hash": self.hash, "signature": self.signature}).encode() + b"\n"

    def _content(self) -> dict[str, Any]:
        common = {"format": _FORM.number, "index": self.index, "prev_hash": self.prev_hash}
        return {**common, "key": self.key, "witness": self.witness, **self._own()}

    def _own(self) -> dict[str, Any]:
        raise NotImplementedError

    def _signed(self, signer: Signer) -> Self:
        whole = replace(self, key=signer.public.hex())
        digest = hash_of(whole._content())
        return replace(whole, hash=digest, signature=signer.sign(_PURPOSE + digest.encode()).hex())


@dataclass(frozen=True, kw_only=True)
class Entry(_Link):
    """An intent: a charge at its place in the chain, spent from then on, whether or not anything leaves under it.

    ``time`` is Unix time by the clock of whoever wrote it, for people only.
    """

    charge: Charge
    time: float

    @classmethod
    def after(cls, previous: "Line | None", charge: Charge, time: float, signer: Signer, witness: str = "") -> "Entry":
        """Return the entry that follows ``previous`` (``None``: the first one)."""
        index, prev_hash = _place(previous)
        return cls(index=index, prev_hash=prev_hash, charge=charge, time=time, witness=witness)._signed(signer)

    def _own(self) -> dict[str, Any]:
        return {"kind": "intent", "charge": self.charge.to_json(), "time": self.time}


@dataclass(frozen=True, kw_only=True)
class Commit(_Link):
    """That something left under an intent: the index and the hash of that entry, and the SHA-256 of what left.

    It has no time: heads go to the other side, and when a client was done tells how long it trained.
    """

    intent: int
    intent_hash: str
    released: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_hex("released", self.released, 32)

    @classmethod
    def after(cls, previous: "Line | None", entry: Entry, released: str, signer: Signer, witness: str = "") -> "Commit":
        """Return the commit of ``entry`` that follows ``previous``; raises ``ValueError`` for what is no digest."""
        index, prev_hash = _place(previous)
        return cls(
            index=index,
            prev_hash=prev_hash,
            intent=entry.index,
            intent_hash=entry.hash,
            released=released,
            witness=witness,
        )._signed(signer)

    def _own(self) -> dict[str, Any]:
        names = {"intent": self.intent, "intent_hash": self.intent_hash, "released": self.released}
        return {"kind": "commit", **names}


Line: TypeAlias = Entry | Commit


def read_line(line: bytes, previous: Line | None) -> Line:
    """Return the entry or commit in ``line``, which has to be exactly what follows ``previous``.

    Hashes are checked and signatures are not: that is ``signed_by``, which costs more.

    Raises:
        LedgerError: naming the entry and what is wrong with it.
    """
    at, prev_hash = _place(previous)
    tree = _FORM.parse(line, at, prev_hash)
    kind = tree.pop("kind")
    del tree["format"]
    tree["index"] = at  # True and 1.0 equal 1, and would be written as they came
    try:
        check_hex("key", tree["key"], 32)
        check_hex("signature", tree["signature"], 64)
        found: Line
        if kind == "intent":
            found = Entry(**{**tree, "charge": Charge.from_json(tree["charge"]), "time": float(tree["time"])})
        else:
            found = Commit(**{**tree, "intent": int(tree["intent"])})
        written = found.to_line()
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedEvent) as error:
        raise _FORM.refusal(at, error) from error
    _FORM.check_canonical(line, written, at)
    if previous is not None and found.key != previous.key:
        raise LedgerError(f"ledger entry {at}: it names another key than the entry before it (inserted?)")
    return found


def check_signature(line: Line, verifier: Verifier) -> None:
    """Refuse a line that was not signed with the key of ``verifier``; raises ``LedgerError``, naming the entry."""
    expected = verifier.public.hex()
    if line.key != expected:
        raise LedgerError(
            f"ledger entry {line.index}: expected the key {expected[:16]}, got {line.key[:16]} (another ledger's key, "
            "or the ledger was written anew)"
        )
    if not line.signed_by(verifier):
        raise LedgerError(f"ledger entry {line.index}: its signature does not fit (written without the ledger's key)")


def _place(previous: Line | None) -> tuple[int, str]:
    return (0, GENESIS) if previous is None else (previous.index + 1, previous.hash)
