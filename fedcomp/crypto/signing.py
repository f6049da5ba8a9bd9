"""Ed25519 keys (RFC 8032): who holds one signs lines of a ledger, and anybody with its public half checks them."""

from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedcomp.crypto.key_files import KeyFileError, read_private, write_private

_PRIVATE_PREFIX = "fedcomp-ed25519-private:"


@dataclass(frozen=True)
class VerifyingKey:
    """The public half of a ``SigningKey``.

    Raises:
        KeyFileError: if ``public`` is not 32 bytes.
    """

    public: bytes
    """The public key, 32 bytes."""

    def __post_init__(self) -> None:
        _public(self.public)

    def verify(self, signature: bytes, content: bytes) -> bool:
        """Return whether this key signed ``content``."""
        return _fits(_public(self.public), signature, content)


@dataclass(frozen=True)
class SigningKey:
    """One ledger's Ed25519 key pair.

    The private half never shows in ``repr``, and equality is equality of the public half. As with ``KeyPair``, there is
    no way to make one from a name or a seed.
    """

    public: bytes
    """The public key, 32 bytes."""
    private: Ed25519PrivateKey = field(repr=False, compare=False)

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a new key from the operating system's entropy."""
        return cls._of(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "SigningKey":
        """Read the key that ``save`` wrote.

        Raises:
            KeyFileError: if the file is missing or malformed, or if its group or others may read or write it.
        """
        return cls._of(Ed25519PrivateKey.from_private_bytes(read_private(path, _PRIVATE_PREFIX)))

    def save(self, path: Path) -> None:
        """Write the key to a new file with permissions 0600.

        Raises:
            KeyFileError: if ``path`` exists: who loses a ledger's key cannot go on with that ledger.
            RunError: if the file cannot be written.
        """
        write_private(path, self.private.private_bytes_raw(), _PRIVATE_PREFIX)

    def sign(self, content: bytes) -> bytes:
        """Return the signature of ``content``, 64 bytes; the same content gives the same one."""
        return self.private.sign(content)

    def verify(self, signature: bytes, content: bytes) -> bool:
        """Return whether this key signed ``content``."""
        return _fits(self.private.public_key(), signature, content)

    @classmethod
    def _of(cls, private: Ed25519PrivateKey) -> "SigningKey":
        return cls(public=private.public_key().public_bytes_raw(), private=private)


def _public(public: bytes) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(public)
    except ValueError as error:
        raise KeyFileError(f"public key: expected 32 bytes, got {len(public)}") from error


def _fits(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
