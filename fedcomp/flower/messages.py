"""What travels in a Flower message: one array of bytes, a small JSON header and its parts in it.

The array has ``stype = "fedcomp.v1"``, so that Flower's own aggregators fail loudly instead of averaging bytes.
Everything that is read here comes from the network and is hostile until it has been checked.
"""

import json
import math
import reprlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Array, ArrayRecord, Message, RecordDict

from fedcomp.errors import FedcompError

STYPE = "fedcomp.v1"
SERVER = "server"
"""The server's name in envelopes; no client may bear it."""
_RECORD = "fedcomp"
_MAX_HEADER = 1 << 20
_MAX_PARTS = 4096
_MAX_TEXT = 500
"""How much of what a stranger wrote is repeated in a refusal, which ends up in the run's files."""


class MessageError(FedcompError):
    """A message that is not one of ours, or is damaged."""


@dataclass(frozen=True)
class Frame:
    """A header and the byte strings that go with it."""

    header: Mapping[str, Any]
    parts: tuple[bytes, ...] = ()

    def text(self, key: str) -> str:
        """Return a string of the header; raises ``MessageError`` if it is missing or something else."""
        value = self.header.get(key)
        if not isinstance(value, str):
            raise MessageError(f"message header: expected text at {key!r}, got {reprlib.repr(value)}")
        return value

    def number(self, key: str) -> int:
        """Return an integer of the header; raises ``MessageError`` if it is missing or something else."""
        value = self.header.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise MessageError(f"message header: expected an integer at {key!r}, got {reprlib.repr(value)}")
        return value

    def real(self, key: str) -> float:
        """Return a finite number of the header; raises ``MessageError`` if it is missing or something else."""
        value = self.header.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise MessageError(f"message header: expected a finite number at {key!r}, got {reprlib.repr(value)}")
        return float(value)


def pack(frame: Frame) -> bytes:
    """Return ``length of header | header | number of parts | their lengths | parts``, little-endian.

    Raises:
        MessageError: for a frame that ``unpack`` would refuse: a header above 1 MiB, or more than 4096 parts.
    """
    header = _dump(frame.header)
    if len(header) > _MAX_HEADER or len(frame.parts) > _MAX_PARTS:
        raise MessageError(
            f"message: expected a header of at most {_MAX_HEADER} bytes and at most {_MAX_PARTS} parts, "
            f"got {len(header)} bytes and {len(frame.parts)} parts"
        )
    lengths = struct.pack(f"<{len(frame.parts)}Q", *(len(part) for part in frame.parts))
    return b"".join(
        (struct.pack("<I", len(header)), header, struct.pack("<I", len(frame.parts)), lengths, *frame.parts)
    )


def unpack(content: bytes) -> Frame:
    """Return the frame in ``content``.

    Raises:
        MessageError: for every byte string that ``pack`` could not have made.
    """
    try:
        (size,) = struct.unpack_from("<I", content, 0)
        if size > min(_MAX_HEADER, len(content)):
            raise MessageError(f"message header of {size} bytes in a message of {len(content)}")
        header = json.loads(content[4 : 4 + size])
        if _dump(header) != content[4 : 4 + size]:
            raise MessageError("message is damaged: its header is not in the one form that is written")
        (count,) = struct.unpack_from("<I", content, 4 + size)
        if count > _MAX_PARTS:
            raise MessageError(f"message: expected at most {_MAX_PARTS} parts, got {count}")
        lengths = struct.unpack_from(f"<{count}Q", content, 8 + size)
    except (struct.error, ValueError, RecursionError) as error:
        raise MessageError(f"message is damaged: {error}") from error
    start = 8 + size + 8 * count
    if not isinstance(header, dict) or start + sum(lengths) != len(content):
        raise MessageError("message is damaged: its header is no object, or its lengths do not add up")
    parts = []
    for length in lengths:
        parts.append(content[start : start + length])
        start += length
    return Frame(header, tuple(parts))


def _dump(header: Mapping[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def to_record(content: bytes) -> RecordDict:
    """Return the record that carries ``content``."""
    array = Array(dtype="uint8", shape=(len(content),), stype=STYPE, data=content)
    return RecordDict({_RECORD: ArrayRecord({"payload": array})})


def from_message(message: Message) -> bytes:
    """Return the bytes that a message carries.

    Raises:
        MessageError: if it carries an error, or something that ``to_record`` did not make.
    """
    if message.has_error():
        reason = (message.error.reason or "the client failed")[:_MAX_TEXT]
        raise MessageError(f"no reply: {reason} (code {message.error.code})")
    record = message.content.get(_RECORD)
    array = record.get("payload") if isinstance(record, ArrayRecord) else None
    if array is None or array.stype != STYPE:
        kinds = {name: type(value).__name__ for name, value in message.content.items()}
        raise MessageError(f"expected one array of stype {STYPE!r}, got records {reprlib.repr(kinds)}")
    return bytes(array.data)
