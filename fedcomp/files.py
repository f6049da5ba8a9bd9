"""Files that survive a kill at any line: the old one or the new one is there, never half of one."""

import os
import tempfile
from pathlib import Path

from fedcomp.errors import RunError


def write_atomic(path: Path, content: bytes) -> None:
    """Write a temporary file beside ``path``, fsync it, and rename it over ``path``.

    Raises:
        RunError: if the file cannot be written (a full disk, no permission); an existing ``path`` is left as it was.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_directory(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}") from error


def append_synced(path: Path, line: bytes) -> None:
    """Append ``line`` in one write and fsync it before returning.

    Raises:
        RunError: if the line could not be written and synced whole.
    """
    try:
        with path.open("ab", buffering=0) as file:
            start = file.tell()
            written = file.write(line)
            if written != len(line):
                file.truncate(start)
                raise RunError(f"cannot append to {path}: wrote {written} of {len(line)} bytes, disk full?")
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"cannot append to {path}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Fsync a directory, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
