"""What lies on a client's disk: encrypted with one key of that client, and its key pair as bytes to lie there."""

import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedcomp.crypto.keys import KeyFileError, KeyPair

_NONCE_BYTES = 12


class StorageCipher:
    """AES-256-GCM under a fresh random nonce a file; the key is derived from the client's private key.

    It protects a disk that is read while the key file is not; who has both reads everything.
    """

    def __init__(self, key: KeyPair) -> None:
        secret = key.private.private_bytes_raw()
        self._cipher = AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=b"fedcomp storage 1").derive(secret))

    @classmethod
    def from_file(cls, path: Path) -> "StorageCipher":
        """Return the cipher of the key file that ``KeyPair.save`` wrote; raises as ``KeyPair.load`` does."""
        return cls(KeyPair.load(path))

    def encrypt(self, content: bytes, associated_data: bytes) -> bytes:
        """Return nonce, ciphertext and tag, bound to ``associated_data``."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, associated_data)

    def decrypt(self, content: bytes, associated_data: bytes) -> bytes:
        """Return the content; raises ``KeyFileError`` if it was changed, or made under another key or name."""
        try:
            return self._cipher.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], associated_data)
        except (InvalidTag, ValueError) as error:
            raise KeyFileError("stored content was changed, or was encrypted with another key") from error


def key_pair_to_bytes(key: KeyPair) -> bytes:
    """Return the private half, 32 bytes, to be kept where nobody else reads."""
    return key.private.private_bytes_raw()


def key_pair_from_bytes(private: bytes) -> KeyPair:
    """Return the pair that ``key_pair_to_bytes`` wrote; raises ``KeyFileError`` for anything but 32 bytes."""
    try:
        key = X25519PrivateKey.from_private_bytes(private)
    except ValueError as error:
        raise KeyFileError(f"stored key: expected 32 bytes, got {len(private)}") from error
    return KeyPair(public=key.public_key().public_bytes_raw(), private=key)
