"""Files that survive a kill at any line: the old one or the new one is there, never half of one."""

import contextlib
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
    except BaseException as error:  # an interrupt must not leave half a file behind either
        if temporary:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RunError(f"cannot write {path}: {error.strerror}") from error
        raise


def append_synced(path: Path, line: bytes) -> None:
    """Append ``line`` in one write and fsync it before returning; a file that is new is synced into its directory.

    Raises:
        RunError: if the line could not be written and synced whole; a part that was written is taken back, which is
            safe if writers take turns.
    """
    try:
        with path.open("ab", buffering=0) as file:
            new = file.tell() == 0
            written = file.write(line)
            if written != len(line):
                # where this write began, not where the file ended when it was opened: others may have appended since
                file.truncate(file.tell() - written)
                raise RunError(f"cannot append to {path}: wrote {written} of {len(line)} bytes, disk full?")
            os.fsync(file.fileno())
        if new:
            sync_directory(path.parent)
    except OSError as error:
        raise RunError(f"cannot append to {path}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """Fsync a directory, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
