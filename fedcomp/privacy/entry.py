"""One line of a ledger: what was charged to whom, hashed together with the line before it.

A line is canonical JSON (sorted keys, no spaces, ASCII; floats that matter as hexadecimal texts) and a newline.
``hash`` is the SHA-256 of the same JSON without ``hash``; ``prev_hash`` is the hash of the line before, and 64 zeros in
the first one. ``format`` leaves room for signatures and for an intent that is committed later.
"""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from typing import Any, Required, TypedDict

from fedcomp.errors import FedcompError
from fedcomp.privacy.accounting import NEIGHBORING_RELATION
from fedcomp.privacy.events import DpEvent, UnsupportedEvent, canonical_json, event_from_json, event_to_json, unhex

GENESIS = "0" * 64
_FORMAT = 1
_NAMES = ["charge", "format", "hash", "index", "prev_hash", "time"]
_MAX_TEXT = 1024


class LedgerError(FedcompError):
    """A ledger that cannot be read or trusted. Whoever gets this has not been charged and must not release anything."""

    exit_code = 4


class Details(TypedDict, total=False):
    """The fields of a ``Charge`` besides subject and event, as keyword arguments of ``Ledger.compose``."""

    run: Required[str]
    server_round: Required[int]
    count: int
    release: str
    unit: str
    neighboring_relation: str
    sensitivity: float
    noise_std: float
    sampler: str
    sampling_probability: float
    codec_digest: str


@dataclass(frozen=True)
class Charge:
    """What is charged to one subject for one release, and what an auditor needs to check it.

    Attributes:
        subject: the account: a name of the data set and of the unit of privacy. The same data under a new run is the
            same subject; other data or another unit is another one.
        event: the privacy event, ``count`` times.
        run, server_round, release: which release it was; at most one charge a subject has all three.
        unit: the unit of privacy, ``example`` or ``client``.
        sensitivity: what the event's noise multiplier is relative to: ``max_grad_norm`` or ``clipping_norm``.
        noise_std: absolute standard deviation of the noise that was added to the sum.
        sampler: what drew the units, e.g. ``poisson``; with its public ``sampling_probability``.
        codec_digest: digest of the codec or config that the release went through.
    """

    subject: str
    event: DpEvent
    run: str
    server_round: int
    count: int = 1
    release: str = "update"
    unit: str = "example"
    neighboring_relation: str = NEIGHBORING_RELATION
    sensitivity: float = 0.0
    noise_std: float = 0.0
    sampler: str = "none"
    sampling_probability: float = 1.0
    codec_digest: str = ""

    def __post_init__(self) -> None:
        event_to_json(self.event)  # an event that cannot be priced is refused before it is written down
        for name in ("subject", "run", "release", "unit", "neighboring_relation", "sampler", "codec_digest"):
            if not isinstance(getattr(self, name), str) or len(getattr(self, name)) > _MAX_TEXT:
                raise ValueError(
                    f"{name} must be a text of at most {_MAX_TEXT} letters, got {getattr(self, name)!r:.80}"
                )
        if not self.subject:
            raise ValueError("subject must name a data set and a unit of privacy, got an empty text")
        for name, least in (("server_round", 0), ("count", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for name in ("sensitivity", "noise_std", "sampling_probability"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative, got {value!r}")

    @property
    def key(self) -> tuple[str, str, int, str]:
        """What makes two charges the same release."""
        return self.subject, self.run, self.server_round, self.release

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a JSON object."""
        tree: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        numbers = {name: float(tree[name]).hex() for name in ("sensitivity", "noise_std", "sampling_probability")}
        return {**tree, **numbers, "event": event_to_json(self.event)}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Charge":
        """Return the charge that ``to_json`` wrote; raises ``ValueError``, ``TypeError`` or ``UnsupportedEvent``."""
        numbers = {name: unhex(tree[name]) for name in ("sensitivity", "noise_std", "sampling_probability")}
        return cls(**{**tree, **numbers, "event": event_from_json(tree["event"])})


@dataclass(frozen=True)
class Entry:
    """A charge at its place in the chain. ``time`` is Unix time by the clock of whoever wrote it, for people only."""

    index: int
    prev_hash: str
    time: float
    charge: Charge
    hash: str

    @classmethod
    def after(cls, previous: "Entry | None", charge: Charge, time: float) -> "Entry":
        """Return the entry that follows ``previous`` (``None``: the first one)."""
        index, prev_hash = (0, GENESIS) if previous is None else (previous.index + 1, previous.hash)
        return cls(index, prev_hash, time, charge, _digest(_content(index, prev_hash, time, charge)))

    def to_line(self) -> bytes:
        """Return the line, newline included."""
        tree = {**_content(self.index, self.prev_hash, self.time, self.charge), "hash": self.hash}
        return canonical_json(tree).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes, previous: "Entry | None") -> "Entry":
        """Return the entry in ``line``, which has to be exactly what follows ``previous``.

        Raises:
            LedgerError: naming the entry and what is wrong with it.
        """
        at, prev_hash = (0, GENESIS) if previous is None else (previous.index + 1, previous.hash)
        tree, digest = _parse(line, at)
        if tree["index"] != at:
            raise LedgerError(
                f"ledger entry {at}: expected index {at}, got {tree['index']} (dropped, repeated or moved?)"
            )
        if tree["hash"] != digest:
            raise LedgerError(f"ledger entry {at}: its content does not fit its hash (edited?)")
        if tree["prev_hash"] != prev_hash:
            raise LedgerError(f"ledger entry {at}: it does not follow the entry before it (edited, inserted or moved?)")
        try:
            return cls(at, prev_hash, float(tree["time"]), Charge.from_json(tree["charge"]), digest)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, UnsupportedEvent) as error:
            raise _no_entry(at, error) from error


def _parse(line: bytes, at: int) -> tuple[dict[str, Any], str]:
    """Return the JSON object in a canonical line, and the hash that its content should have."""
    try:
        tree = json.loads(line.decode("ascii"))
        if tree["format"] != _FORMAT:
            raise LedgerError(f"ledger entry {at}: expected format {_FORMAT}, got {tree['format']!r:.40}")
        if sorted(tree) != _NAMES:
            raise ValueError(f"expected the names {_NAMES}, got {sorted(tree)}")
        if canonical_json(tree).encode() + b"\n" != line:
            raise LedgerError(f"ledger entry {at}: the line is not in canonical form (edited?)")
        return tree, _digest({name: value for name, value in tree.items() if name != "hash"})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _no_entry(at, error) from error


def _no_entry(at: int, error: Exception) -> LedgerError:
    return LedgerError(f"ledger entry {at}: not an entry ({type(error).__name__}: {error!s:.120})")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def _content(index: int, prev_hash: str, time: float, charge: Charge) -> dict[str, Any]:
    return {"format": _FORMAT, "index": index, "prev_hash": prev_hash, "time": time, "charge": charge.to_json()}
