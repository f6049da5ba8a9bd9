"""X25519 key pairs: one per party, from operating system entropy, in files that nobody else may read."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcomp.crypto.key_files import KeyFileError, decode_key, encode_key, read_private, write_private

__all__ = ["KeyFileError", "KeyPair", "key_id", "public_key_from_text"]

_PUBLIC_PREFIX = "fedcomp-x25519:"
_PRIVATE_PREFIX = "fedcomp-x25519-private:"


@dataclass(frozen=True)
class KeyPair:
    """One party's X25519 key pair (RFC 7748).

    The private half never shows in ``repr``, and equality is equality of the public half. There is no way to make a
    pair from a rank, a name or a seed: a key that somebody else can derive protects nothing.
    """

    public: bytes
    """The public key, 32 bytes."""
    private: X25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> "KeyPair":
        """Return a new pair from the operating system's entropy."""
        return cls._of(X25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "KeyPair":
        """Read the pair that ``save`` wrote.

        Raises:
            KeyFileError: if the file is missing or malformed, or if its group or others may read or write it.
        """
        return cls._of(X25519PrivateKey.from_private_bytes(read_private(path, _PRIVATE_PREFIX)))

    def save(self, path: Path) -> None:
        """Write the pair to a new file with permissions 0600.

        Raises:
            KeyFileError: if ``path`` exists; a lost key cannot be had again, so none is written over.
            RunError: if the file cannot be written.
        """
        write_private(path, self.private.private_bytes_raw(), _PRIVATE_PREFIX)

    @property
    def key_id(self) -> str:
        """The fingerprint of the public half, as ``key_id`` gives it."""
        return key_id(self.public)

    def public_text(self) -> str:
        """Return the public half as one line of text, for a config file or a message."""
        return encode_key(self.public, _PUBLIC_PREFIX)

    @classmethod
    def _of(cls, private: X25519PrivateKey) -> "KeyPair":
        return cls(public=private.public_key().public_bytes_raw(), private=private)


def key_id(public: bytes) -> str:
    """Return the fingerprint of a public key: the first 128 bits of its SHA-256, as 32 hex digits."""
    return hashlib.sha256(public).hexdigest()[:32]


def public_key_from_text(text: str) -> bytes:
    """Return the 32 bytes of the public key that ``KeyPair.public_text`` wrote.

    Raises:
        KeyFileError: if ``text`` is something else.
    """
    return decode_key(text, _PUBLIC_PREFIX, "public key")
