"""Sealed envelopes: one payload from one sender to one receiver, for one round of one run.

Layout, little-endian, no holes: version (1 byte) | header length (2) | header | nonce (12) | ciphertext and tag (16).
The header travels in clear, so that a refusal can name what is wrong, and is authenticated together with the version
as associated data of AES-256-GCM. Keys are X25519 (static, static) through HKDF-SHA256 whose info binds the protocol
version, both public keys in the order sender, receiver, and the run: each direction of each run has its own key.
"""

import os
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedcomp.crypto.header import MAX_HEADER_BYTES, EnvelopeError, Header, check_header
from fedcomp.crypto.keys import KeyPair

_VERSION = 1
_INFO = b"fedcomp envelope 1"
_PREFIX = struct.Struct("<BH")
_NONCE_BYTES = 12
_TAG_BYTES = 16
_MAX_PAYLOAD_BYTES = 2**31 - 1 - _TAG_BYTES  # what one AES-GCM call of the library takes


@dataclass(frozen=True)
class Channel:
    """What one party needs to seal for, and open from, one peer in one run. Keys are derived once, here.

    The peer's public key is the peer's identity: the security of the channel hangs on where that key came from.

    Raises:
        EnvelopeError: ``foreign key``, if ``peer_public`` is not a usable X25519 public key or is our own.
    """

    own: KeyPair
    peer_public: bytes
    run: str
    _sealer: AESGCM = field(init=False, repr=False, compare=False)
    _opener: AESGCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.own.public == self.peer_public:
            # One key for both ends makes both directions one key: an envelope could be reflected to its sender.
            raise EnvelopeError("foreign key", "the peer's public key is our own; every party has its own key pair")
        try:
            secret = self.own.private.exchange(X25519PublicKey.from_public_bytes(self.peer_public))
        except ValueError as error:  # wrong length, or a point of low order that gives everybody the same secret
            raise EnvelopeError("foreign key", "the peer's public key is not a usable X25519 key") from error
        object.__setattr__(self, "_sealer", _direction_key(secret, self.own.public, self.peer_public, self.run))
        object.__setattr__(self, "_opener", _direction_key(secret, self.peer_public, self.own.public, self.run))

    def seal(self, payload: bytes, header: Header) -> bytes:
        """Return ``payload`` sealed for the peer, under a fresh random nonce.

        Raises:
            EnvelopeError: ``other run``, if the header is not about this channel's run; ``too large``.
        """
        self._check_run(header.run)
        if len(payload) > _MAX_PAYLOAD_BYTES:
            raise EnvelopeError("too large", f"expected at most {_MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
        packed = header.pack(self.own.public, self.peer_public)
        associated_data = _PREFIX.pack(_VERSION, len(packed)) + packed
        nonce = os.urandom(_NONCE_BYTES)
        return b"".join((associated_data, nonce, self._sealer.encrypt(nonce, payload, associated_data)))

    def open(self, envelope: bytes, expected: Header) -> bytes:
        """Return the payload, if the envelope is authentic and is exactly the one that was expected.

        The header is compared first, so that the refusal has a name; until the tag is checked that name is the word
        of whoever sent the bytes. Memory is bounded by the length of ``envelope``. A second copy of an envelope that
        is good in every other respect is for ``ReplayGuard`` to refuse.

        Raises:
            EnvelopeError: and nothing else, whatever the bytes are.
        """
        self._check_run(expected.run)
        start = _payload_start(envelope)
        check_header(
            envelope[_PREFIX.size : start],
            expected,
            sender_public=self.peer_public,
            receiver_public=self.own.public,
        )
        nonce, sealed = envelope[start : start + _NONCE_BYTES], envelope[start + _NONCE_BYTES :]
        try:
            return self._opener.decrypt(nonce, sealed, envelope[:start])
        except InvalidTag:
            raise EnvelopeError("tampered", f"bytes or key are not those of {expected.sender!r}'s envelope") from None

    def _check_run(self, run: str) -> None:
        if run != self.run:
            raise EnvelopeError("other run", f"expected run {self.run!r}, got {run!r}")


@dataclass(frozen=True)
class ReplayGuard:
    """Which (run, round, sender, receiver, kind) were accepted already; a value, so that it can be kept with a round.

    Admit after ``Channel.open`` and never before: otherwise a forgery would use up the place of the true envelope.
    """

    seen: frozenset[tuple[str, int, str, str, str]] = frozenset()

    def admit(self, header: Header) -> "ReplayGuard":
        """Return the guard that has also seen ``header``.

        Raises:
            EnvelopeError: ``replayed``, if one envelope of that sender was accepted in that round already.
        """
        key = (header.run, header.server_round, header.sender, header.receiver, header.kind)
        if key in self.seen:
            raise EnvelopeError(
                "replayed", f"{header.sender!r} already sent its {header.kind} of round {header.server_round}"
            )
        return ReplayGuard(self.seen | {key})


def _direction_key(secret: bytes, sender_public: bytes, receiver_public: bytes, run: str) -> AESGCM:
    # Public keys have a fixed length and the run comes last: no two different triples give the same info.
    info = _INFO + sender_public + receiver_public + run.encode()
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret))


def _payload_start(envelope: bytes) -> int:
    """Return where the header ends and the nonce begins, after checking that everything before the payload is there."""
    if len(envelope) < _PREFIX.size:
        raise EnvelopeError("truncated", f"expected at least {_PREFIX.size} bytes, got {len(envelope)}")
    version, length = _PREFIX.unpack_from(envelope)
    if version != _VERSION:
        raise EnvelopeError("malformed", f"expected envelope version {_VERSION}, got {version}")
    if length > MAX_HEADER_BYTES:
        raise EnvelopeError("malformed", f"expected a header of at most {MAX_HEADER_BYTES} bytes, got {length}")
    start: int = _PREFIX.size + length
    least = start + _NONCE_BYTES + _TAG_BYTES
    if len(envelope) < least:
        raise EnvelopeError("truncated", f"expected at least {least} bytes, got {len(envelope)}")
    if len(envelope) - least > _MAX_PAYLOAD_BYTES:
        raise EnvelopeError("too large", f"expected a payload of at most {_MAX_PAYLOAD_BYTES} bytes")
    return start
