"""X25519 key pairs: one per party, from operating system entropy, in files that nobody else may read."""

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcomp.errors import FedcompError
from fedcomp.files import write_atomic

_PUBLIC_PREFIX = "fedcomp-x25519:"
_PRIVATE_PREFIX = "fedcomp-x25519-private:"
_KEY_BYTES = 32
_MAX_FILE_BYTES = 1024  # a key file is 68 bytes; whatever is longer is not one, and is not read


class KeyFileError(FedcompError):
    """A key that is missing, malformed, or readable by others."""

    exit_code = 4


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
        text = _read_private(path)
        return cls._of(X25519PrivateKey.from_private_bytes(_decode(text, _PRIVATE_PREFIX, str(path))))

    def save(self, path: Path) -> None:
        """Write the pair to a new file with permissions 0600.

        Raises:
            KeyFileError: if ``path`` exists; a lost key cannot be had again, so none is written over.
            RunError: if the file cannot be written.
        """
        if path.exists():
            raise KeyFileError(f"key file {path} exists and is not written over: remove it or choose another path")
        # write_atomic makes its temporary file with mode 0600 and renames it, so the key is never readable by others.
        write_atomic(path, (_encode(self.private.private_bytes_raw(), _PRIVATE_PREFIX) + "\n").encode())

    @property
    def key_id(self) -> str:
        """The fingerprint of the public half, as ``key_id`` gives it."""
        return key_id(self.public)

    def public_text(self) -> str:
        """Return the public half as one line of text, for a config file or a message."""
        return _encode(self.public, _PUBLIC_PREFIX)

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
    return _decode(text, _PUBLIC_PREFIX, "public key")


def _encode(key: bytes, prefix: str) -> str:
    return prefix + base64.urlsafe_b64encode(key).decode()


def _decode(text: str, prefix: str, source: str) -> bytes:
    # The text itself is never quoted: it may be a private key.
    if not text.strip().startswith(prefix):
        raise KeyFileError(f"{source}: expected a line that starts with {prefix!r}, got something else")
    try:
        key = base64.b64decode(text.strip().removeprefix(prefix), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyFileError(f"{source}: expected base64 after {prefix!r}, got something else") from error
    if len(key) != _KEY_BYTES:
        raise KeyFileError(f"{source}: expected a key of {_KEY_BYTES} bytes, got {len(key)}")
    return key


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            # Asked of the open file, not of the path: the two could be different files a moment later.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileError(
                    f"private key {path}: expected permissions 0600, got {mode:04o}; run chmod 600 on it"
                )
            return file.read(_MAX_FILE_BYTES).decode("ascii")
    except OSError as error:
        raise KeyFileError(f"cannot read private key {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(
            f"{path}: expected a line that starts with {_PRIVATE_PREFIX!r}, got something else"
        ) from error
