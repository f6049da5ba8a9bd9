"""How a ledger is opened to be written: with its own key, which is made when the ledger is new."""

import hashlib
from pathlib import Path

from fedcomp.crypto import SigningKey
from fedcomp.flower.messages import Frame, MessageError
from fedcomp.privacy import FileLedger, LedgerError
from fedcomp.privacy.chain import check_hex
from fedcomp.privacy.chain_file import writers_turn

KEY_NAME = "ledger.key"


def open_ledger(path: Path, key_file: Path | None = None) -> FileLedger:
    """Return the ledger at ``path`` with its key, which is read from ``key_file`` (beside it if left out).

    Raises:
        LedgerError: if the ledger is damaged or another key's, or if it has entries and its key is lost: a new key
            would begin a new ledger, and what the old one says was spent would be forgotten.
        KeyFileError: if the key is malformed, or others may read it.
    """
    key_path = key_file or path.with_name(KEY_NAME)
    with writers_turn(path):  # workers of one simulation open one ledger at the same time, and it has one key
        if not key_path.exists():
            if path.exists() and path.stat().st_size:
                raise LedgerError(f"ledger {path} has entries, and its key {key_path} is missing: put it back")
            SigningKey.generate().save(key_path)
        key = SigningKey.load(key_path)
    return FileLedger(path, key)


def digest_of(payload: bytes) -> str:
    """Return what a released payload is called in ledgers and anchors: its SHA-256, as hexadecimal."""
    return hashlib.sha256(payload).hexdigest()


def digest_in(frame: Frame, key: str) -> str:
    """Return a head, a key or a digest of a header; raises ``MessageError`` for anything but 32 bytes in hex."""
    try:
        return check_hex(key, frame.text(key), 32)
    except ValueError as error:
        raise MessageError(f"message header: {error}") from error
