"""The frame on its own: its bytes are what docs/wire-format.md says."""

import struct
import zlib

import numpy as np
import pytest

from fedcomp.codecs import PayloadError, codec_from_config
from fedcomp.codecs.frame import Frame, read_frame, write_frame
from fedcomp.codecs.layout import DTYPES, layout_of

DIGEST = bytes(range(8))
LAYOUT = layout_of({"wéight": np.zeros((2, 3), np.float32), "": np.array(1, np.int64)})
SECTIONS = (np.arange(5, dtype=np.uint8), np.array([True] * 9 + [False]), np.array([1.5], np.float32))


def test_bytes_are_as_written_down() -> None:
    name = "wéight".encode()
    body = b"FCMP\x01" + DIGEST + struct.pack("<HB", 2, 3)
    body += struct.pack("<BBH", 10, 2, 7) + name + struct.pack("<II", 2, 3) + struct.pack("<BBH", 4, 0, 0)
    body += struct.pack("<BIBIBI", 5, 5, 0, 10, 10, 1)
    body += bytes([0, 1, 2, 3, 4, 0xFF, 0x01]) + struct.pack("<f", 1.5)
    assert write_frame(Frame(DIGEST, LAYOUT, SECTIONS)) == body + struct.pack("<I", zlib.crc32(body))


def test_what_is_written_is_read() -> None:
    frame = read_frame(write_frame(Frame(DIGEST, LAYOUT, SECTIONS)), DIGEST, 2**28)
    assert frame.layout == LAYOUT
    for found, section in zip(frame.sections, SECTIONS, strict=True):
        assert found.dtype == section.dtype
        assert np.array_equal(found, section)


def test_codes_of_dtypes_never_change() -> None:
    names = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    assert [dtype.name for dtype in DTYPES] == [*names, "float16", "float32", "float64"]


@pytest.mark.parametrize(
    ("at", "value", "problem"),
    [(0, 0, "starts with b'FCMP'"), (4, 2, "format version 1, got 2"), (13, 9, "checksum"), (5, 9, "checksum")],
)
def test_the_first_thing_that_is_wrong_is_named(at: int, value: int, problem: str) -> None:
    payload = bytearray(write_frame(Frame(DIGEST, LAYOUT, SECTIONS)))
    payload[at] = value
    with pytest.raises(PayloadError, match=problem):
        read_frame(bytes(payload), DIGEST, 2**28)


def test_another_digest_is_named() -> None:
    payload = write_frame(Frame(DIGEST, LAYOUT, SECTIONS))
    with pytest.raises(PayloadError, match=f"codec {b'another!'.hex()}, got one of codec {DIGEST.hex()}"):
        read_frame(payload, b"another!", 2**28)


def test_bits_after_the_last_bool_are_refused() -> None:
    payload = bytearray(write_frame(Frame(DIGEST, LAYOUT, SECTIONS))[:-4])
    payload[-5] |= 0x80
    sealed = bytes(payload) + struct.pack("<I", zlib.crc32(payload))
    with pytest.raises(PayloadError, match="zero bits"):
        read_frame(sealed, DIGEST, 2**28)


def test_an_empty_payload_is_twenty_five_bytes() -> None:
    assert len(codec_from_config([]).encode({}, rng=np.random.default_rng(0))) == 16 + 5 + 4
