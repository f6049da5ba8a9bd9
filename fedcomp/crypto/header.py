"""The header of an envelope: what it is about, in clear, and the refusals that name what does not fit."""

import struct
from dataclasses import dataclass
from typing import Literal

from fedcomp.crypto.keys import key_id
from fedcomp.errors import FedcompError

Kind = Literal["uplink", "downlink"]
Reason = Literal[
    "truncated",
    "malformed",
    "too large",
    "other run",
    "swapped",
    "replayed",
    "other codec",
    "foreign key",
    "tampered",
]

MAX_HEADER_BYTES = 2048
"""A packed header is at most 5 + 6 * 256 bytes; whatever claims more is not read."""

_FIXED = struct.Struct("<BI")
_CODES: dict[Kind, int] = {"uplink": 1, "downlink": 2}
_MAX_TEXT_BYTES = 255
# In this order, because the first difference gives the refusal its name.
_REASONS: dict[str, Reason] = {
    "run": "other run",
    "sender": "swapped",
    "receiver": "swapped",
    "kind": "swapped",
    "server_round": "replayed",
    "codec_digest": "other codec",
}


class EnvelopeError(FedcompError):
    """An envelope that is refused; ``reason`` is one of the few names in ``Reason``. The round goes on without it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason: Reason = reason
        super().__init__(f"envelope refused ({reason}): {detail}")


@dataclass(frozen=True)
class Header:
    """What an envelope is about. A receiver states what it expects, and gets that or an ``EnvelopeError``.

    Texts are at most 255 bytes of UTF-8; ``server_round`` fits 32 bits; anything else is a ``ValueError``.
    """

    run: str
    server_round: int
    sender: str
    receiver: str
    kind: Kind
    codec_digest: str

    def __post_init__(self) -> None:
        if self.kind not in _CODES:
            raise ValueError(f"kind must be 'uplink' or 'downlink', got {self.kind!r}")
        if not 0 <= self.server_round < 2**32:
            raise ValueError(f"server_round must be in [0, 2**32), got {self.server_round}")
        for name in ("run", "sender", "receiver", "codec_digest"):
            length = len(getattr(self, name).encode())
            if length > _MAX_TEXT_BYTES:
                raise ValueError(f"{name} must be at most {_MAX_TEXT_BYTES} bytes of UTF-8, got {length}")

    def pack(self, sender_public: bytes, receiver_public: bytes) -> bytes:
        """Return the header's bytes, with the key ids of both ends.

        Kind (1 byte), round (4, little-endian), then run, sender, receiver, codec digest and the two key ids, each
        as a length byte and UTF-8.
        """
        texts = [
            self.run,
            self.sender,
            self.receiver,
            self.codec_digest,
            key_id(sender_public),
            key_id(receiver_public),
        ]
        encoded = [text.encode() for text in texts]
        return _FIXED.pack(_CODES[self.kind], self.server_round) + b"".join(bytes([len(t)]) + t for t in encoded)


def check_header(packed: bytes, expected: Header, *, sender_public: bytes, receiver_public: bytes) -> None:
    """Refuse a packed header that differs from the expected one, by the name of the first difference.

    Raises:
        EnvelopeError: ``other run``, ``swapped`` (sender, receiver or direction), ``replayed`` (another round),
            ``other codec``, ``foreign key``, or ``malformed``.
    """
    if packed == expected.pack(sender_public, receiver_public):
        return
    got, sender_id, receiver_id = _unpack(packed)
    for name, reason in _REASONS.items():
        want, have = getattr(expected, name), getattr(got, name)
        if want != have:
            raise EnvelopeError(reason, f"expected {name} {want!r}, got {have!r}")
    for role, public, have in (("sender", sender_public, sender_id), ("receiver", receiver_public, receiver_id)):
        if key_id(public) != have:
            raise EnvelopeError("foreign key", f"expected the {role}'s key {key_id(public)}, got {have!r}")
    raise EnvelopeError("malformed", "the header does not follow the format")


def _unpack(packed: bytes) -> tuple[Header, str, str]:
    """Return the header and the key ids of sender and receiver."""
    if len(packed) < _FIXED.size:
        raise EnvelopeError("malformed", "the header is too short for its fixed fields")
    code, server_round = _FIXED.unpack_from(packed)
    kinds = {value: kind for kind, value in _CODES.items()}
    if code not in kinds:
        raise EnvelopeError("malformed", f"expected a kind in {sorted(kinds)}, got {code}")
    run, sender, receiver, codec_digest, sender_id, receiver_id = _texts(packed[_FIXED.size :], 6)
    return Header(run, server_round, sender, receiver, kinds[code], codec_digest), sender_id, receiver_id


def _texts(packed: bytes, count: int) -> list[str]:
    """Return exactly ``count`` texts, each stored as a length byte and UTF-8, with nothing left over."""
    texts, at = [], 0
    for _ in range(count):
        end = at + 1 + (packed[at] if at < len(packed) else 0)
        if end > len(packed):
            raise EnvelopeError("malformed", "a text of the header is longer than the header")
        try:
            texts.append(packed[at + 1 : end].decode())
        except UnicodeDecodeError as error:
            raise EnvelopeError("malformed", "a text of the header is not UTF-8") from error
        at = end
    if at != len(packed):
        raise EnvelopeError("malformed", f"the header has {len(packed) - at} bytes too many")
    return texts
