"""Files that hold one key: a line of text with a prefix that says what it is, which nobody else may read."""

import base64
import binascii
import os
import stat
from pathlib import Path

from fedcomp.errors import FedcompError
from fedcomp.files import write_atomic

_KEY_BYTES = 32
_MAX_FILE_BYTES = 1024  # a key file is about 70 bytes; whatever is longer is not one, and is not read


class KeyFileError(FedcompError):
    """A key that is missing, malformed, or readable by others."""

    exit_code = 4


def encode_key(key: bytes, prefix: str) -> str:
    """Return a key of 32 bytes as text."""
    return prefix + base64.urlsafe_b64encode(key).decode()


def decode_key(text: str, prefix: str, source: str) -> bytes:
    """Return the key that ``encode_key`` wrote; raises ``KeyFileError``, naming ``source``, for any other text."""
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


def read_private(path: Path, prefix: str) -> bytes:
    """Return the private key in a file.

    Raises:
        KeyFileError: if the file is missing or malformed, or if its group or others may read or write it.
    """
    try:
        with path.open("rb") as file:
            # Asked of the open file, not of the path: the two could be different files a moment later.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileError(
                    f"private key {path}: expected permissions 0600, got {mode:04o}; run chmod 600 on it"
                )
            text = file.read(_MAX_FILE_BYTES).decode("ascii")
    except OSError as error:
        raise KeyFileError(f"cannot read private key {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KeyFileError(f"{path}: expected a line that starts with {prefix!r}, got something else") from error
    return decode_key(text, prefix, str(path))


def write_private(path: Path, key: bytes, prefix: str) -> None:
    """Write a private key to a new file with permissions 0600.

    Raises:
        KeyFileError: if ``path`` exists; a lost key cannot be had again, so none is written over.
        RunError: if the file cannot be written.
    """
    if path.exists():
        raise KeyFileError(f"key file {path} exists and is not written over: remove it or choose another path")
    # write_atomic makes its temporary file with mode 0600 and renames it, so the key is never readable by others.
    write_atomic(path, (encode_key(key, prefix) + "\n").encode())
