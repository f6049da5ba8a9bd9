"""What one line of a ledger charges: the event, whose account it is on, and what an auditor needs to check it.

The line itself (its place, hash and signature) is in ``lines``; ``chain`` says what every line of a chain has.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Required, TypeAlias, TypedDict

from fedcomp.privacy.accounting import NEIGHBORING_RELATION
from fedcomp.privacy.events import DpEvent, event_from_json, event_to_json, unhex

Key: TypeAlias = tuple[str, str, int, str]
_MAX_TEXT = 1024


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
    def key(self) -> Key:
        """What makes two charges the same release: subject, run, round and release."""
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
