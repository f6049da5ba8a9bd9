"""The wire format: one frame a payload. The normative text is docs/wire-format.md; this is the same thing as code.

    magic "FCMP" | version u8 | codec digest 8 bytes | arrays u16 | sections u8
    arrays   x  ( dtype u8 | dimensions u8 | name bytes u16 | name utf-8 | dimensions x u32 )
    sections x  ( dtype u8 | values u32 )
    sections x  data
    CRC-32 of everything before it, u32

Little-endian, no padding, no trailing bytes. The checksum finds damage; it is no protection from an author, so every
field is checked as if it came from one, and nothing is allocated from a number that has not been checked.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from fedcomp.arrays import Array, ArraysError
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.layout import (
    DTYPES,
    MAX_NAME_BYTES,
    MAX_NDIM,
    ArraySpec,
    dump_values,
    layout_problem,
    load_values,
    num_bytes,
)

MAGIC, VERSION = b"FCMP", 1
_HEADER = struct.Struct("<4sB8sHB")
_ARRAY = struct.Struct("<BBH")
_SECTION = struct.Struct("<BI")
_CHECKSUM = struct.Struct("<I")
_CODES = {dtype: code for code, dtype in enumerate(DTYPES)}


@dataclass(frozen=True, eq=False)
class Frame:
    """What a payload says: who wrote it, which arrays it holds, and its sections (1-D arrays)."""

    digest: bytes
    layout: tuple[ArraySpec, ...]
    sections: tuple[Array, ...]


def write_frame(frame: Frame) -> bytes:
    """Return the bytes of a frame whose layout has been checked by ``layout_of``.

    Raises:
        ArraysError: if a name is not valid unicode.
    """
    parts: list[bytes | memoryview] = [
        _HEADER.pack(MAGIC, VERSION, frame.digest, len(frame.layout), len(frame.sections))
    ]
    for spec in frame.layout:
        name = _encode_name(spec.name)
        parts.append(_ARRAY.pack(_CODES[spec.dtype], len(spec.shape), len(name)))
        parts.append(name)
        parts.append(struct.pack(f"<{len(spec.shape)}I", *spec.shape))
    parts.extend(_SECTION.pack(_CODES[section.dtype], section.size) for section in frame.sections)
    parts.extend(dump_values(section) for section in frame.sections)
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    parts.append(_CHECKSUM.pack(checksum))
    return b"".join(parts)


def frame_size(layout: tuple[ArraySpec, ...], sections: Sequence[Array]) -> int:
    """Return how many bytes a frame has that holds these sections, and one more without values at its end."""
    names = sum(len(spec.name.encode("utf-8", "surrogatepass")) for spec in layout)
    arrays = sum(_ARRAY.size + 4 * len(spec.shape) for spec in layout) + names
    data = sum(num_bytes(section.dtype, section.size) for section in sections)
    return _HEADER.size + arrays + _SECTION.size * (len(sections) + 1) + data + _CHECKSUM.size


def read_frame(payload: bytes, digest: bytes, max_values: int) -> Frame:
    """Return the frame in ``payload``, its sections without a copy where that is possible.

    Args:
        payload: bytes from anywhere.
        digest: the config digest that the frame must carry.
        max_values: the most values that the arrays may hold together.

    Raises:
        PayloadError: for the first thing that is wrong.
    """
    cursor = _open(payload, digest)
    _, _, _, num_arrays, num_sections = cursor.unpack(_HEADER)
    layout = tuple(_read_array(cursor) for _ in range(num_arrays))
    problem = layout_problem(layout, max_values)
    if problem:
        raise PayloadError(problem)
    heads = [cursor.unpack(_SECTION) for _ in range(num_sections)]
    sections = tuple(_read_section(cursor, code, length) for code, length in heads)
    cursor.finish()
    return Frame(digest, layout, sections)


def _open(payload: bytes, digest: bytes) -> Cursor:
    if len(payload) < _HEADER.size + _CHECKSUM.size:
        raise PayloadError(f"expected at least {_HEADER.size + _CHECKSUM.size} bytes, got {len(payload)}")
    view = memoryview(payload).cast("B")
    magic, version, written_by, _, _ = _HEADER.unpack(view[: _HEADER.size])
    if magic != MAGIC:
        raise PayloadError(f"expected a payload that starts with {MAGIC!r}, got {magic!r}")
    if version != VERSION:
        raise PayloadError(f"expected format version {VERSION}, got {version}")
    body = view[: -_CHECKSUM.size]
    (checksum,) = _CHECKSUM.unpack(view[-_CHECKSUM.size :])
    if zlib.crc32(body) != checksum:
        raise PayloadError("the checksum does not match: the payload is damaged")
    if written_by != digest:
        raise PayloadError(f"expected a payload of codec {digest.hex()}, got one of codec {written_by.hex()}")
    return Cursor(body)


def _read_array(cursor: Cursor) -> ArraySpec:
    code, ndim, name_bytes = cursor.unpack(_ARRAY)
    if code >= len(DTYPES):
        raise PayloadError(f"expected a dtype code below {len(DTYPES)}, got {code}")
    if ndim > MAX_NDIM or name_bytes > MAX_NAME_BYTES:
        raise PayloadError(f"an array has {ndim} dimensions and a name of {name_bytes} bytes, over the limits")
    try:
        name = str(cursor.take(name_bytes), "utf-8")
    except UnicodeDecodeError as error:
        raise PayloadError(f"an array's name is not UTF-8: {error.reason}") from None
    return ArraySpec(name, DTYPES[code], struct.unpack(f"<{ndim}I", cursor.take(4 * ndim)))


def _read_section(cursor: Cursor, code: int, length: int) -> Array:
    if code >= len(DTYPES):
        raise PayloadError(f"expected a dtype code below {len(DTYPES)}, got {code}")
    return load_values(cursor.take(num_bytes(DTYPES[code], length)), DTYPES[code], length)


def _encode_name(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise ArraysError(f"array {name!r}: expected a name that is valid unicode: {error.reason}") from None
