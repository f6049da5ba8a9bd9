"""Payloads from an attacker who computes the right checksum: arrays or ``PayloadError``, within the stated memory."""

import struct
import tracemalloc
import zlib
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import codec_suite as suite
from fedcomp.codecs import Codec, PayloadError, codec_from_config

HEADER = 16
"""Bytes before the first array record."""


def sealed(body: bytes) -> bytes:
    """The body with a checksum that fits."""
    return body + struct.pack("<I", zlib.crc32(body))


def check_decodes_or_refuses(codec: Codec, payload: bytes) -> bool:
    """Decode; anything but arrays or ``PayloadError`` fails the test. Returns whether there were arrays."""
    try:
        arrays = codec.decode(payload, max_values=2**16)
    except PayloadError:
        return False
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    assert sum(array.size for array in arrays.values()) <= 2**16
    if not codec.lossless:
        assert all(np.isfinite(array).all() for array in arrays.values() if array.dtype.kind == "f" and array.size)
    return True


def frame(digest: str, arrays: list[tuple[int, bytes, list[int]]], sections: list[tuple[int, int, bytes]]) -> bytes:
    """A frame with any claims: arrays of (dtype code, name, shape), sections of (dtype code, values, data)."""
    body = struct.pack("<4sB8sHB", b"FCMP", 1, bytes.fromhex(digest), len(arrays), len(sections))
    for code, name, shape in arrays:
        body += struct.pack("<BBH", code, len(shape), len(name)) + name + struct.pack(f"<{len(shape)}I", *shape)
    body += b"".join(struct.pack("<BI", code, count) for code, count, _ in sections)
    return sealed(body + b"".join(data for _, _, data in sections))


ATTACKED = ["empty", "topk", "random-mask", "uniform", "step", "topk-dither-rans", "topk-uniform-rans", "float16-rans"]


@pytest.fixture(params=ATTACKED, scope="module")
def codec(request: pytest.FixtureRequest) -> Codec:
    return codec_from_config(suite.CHAINS[request.param])


def test_every_byte_changed_under_a_right_checksum(codec: Codec) -> None:
    body = suite.encode(codec, suite.example_arrays(70))[:-4]
    for at in range(len(body)):
        for value in {0, 0x80, 0xFF, body[at] ^ 1} - {body[at]}:
            check_decodes_or_refuses(codec, sealed(body[:at] + bytes([value]) + body[at + 1 :]))


def test_every_truncation_under_a_right_checksum(codec: Codec) -> None:
    body = suite.encode(codec, suite.example_arrays(70))[:-4]
    for at in range(len(body)):
        assert not check_decodes_or_refuses(codec, sealed(body[:at]))
    assert not check_decodes_or_refuses(codec, sealed(body + b"\0"))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_mutations_under_a_right_checksum(codec: Codec, data: st.DataObject) -> None:
    body = bytearray(suite.encode(codec, suite.example_arrays(300))[:-4])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(HEADER, len(body) - 1))
        kind = data.draw(st.sampled_from(["set", "set", "set", "insert", "delete"]))
        if kind == "set":
            body[at] = data.draw(st.integers(0, 255))
        elif kind == "insert":
            body[at:at] = data.draw(st.binary(min_size=1, max_size=5))
        else:
            del body[at : at + data.draw(st.integers(1, 5))]
        if len(body) <= HEADER:
            break
    check_decodes_or_refuses(codec, sealed(bytes(body)))


@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_behind_a_right_header(noise: bytes) -> None:
    for name in ("empty", "topk-dither-rans"):
        codec = codec_from_config(suite.CHAINS[name])
        check_decodes_or_refuses(codec, noise)
        check_decodes_or_refuses(
            codec, sealed(struct.pack("<4sB8s", b"FCMP", 1, bytes.fromhex(codec.digest())) + noise)
        )


@pytest.mark.parametrize(
    "shape",
    [
        [2**28 + 1],
        [2**32 - 1, 2**32 - 1],
        [2**16] * 4,
        [2**32 - 1] * 32,
        [0, 2**32 - 1, 2**32 - 1],
        [2**31, 2**31, 4],
        [1] * 33,
    ],
    ids=str,
)
@pytest.mark.parametrize("code", [0, 4, 10, 11])
def test_shapes_that_overflow_are_refused_without_allocating(codec: Codec, shape: list[int], code: int) -> None:
    claimed = prod(shape) % 2**32
    payload = frame(codec.digest(), [(code, b"x", shape)], [(5, 0, b""), (10, claimed, b"")])
    assert peak_while_refused(codec, payload) < 2**18


@pytest.mark.parametrize("length", [2**28, 2**32 - 1, 100])
@pytest.mark.parametrize("code", [0, 1, 5, 10, 11, 12, 255])
def test_sections_that_claim_too_much_are_refused_without_allocating(codec: Codec, length: int, code: int) -> None:
    payload = frame(codec.digest(), [(10, b"x", [100])], [(5, 0, b""), (code, length, b"abc")])
    assert peak_while_refused(codec, payload) < 2**18


def peak_while_refused(codec: Codec, payload: bytes, **limits: int) -> int:
    """Peak of traced memory in bytes while a payload is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            codec.decode(payload, **limits)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_numbers_of_arrays_and_sections_are_not_believed(codec: Codec) -> None:
    body = struct.pack("<4sB8sHB", b"FCMP", 1, bytes.fromhex(codec.digest()), 2**16 - 1, 255)
    assert peak_while_refused(codec, sealed(body)) < 2**18
    right = suite.encode(codec, {})[15]
    for number in range(256):
        if number != right:
            assert not check_decodes_or_refuses(codec, frame(codec.digest(), [], [(5, 0, b"")] * number))


@pytest.mark.parametrize(
    "name", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x98"], ids=lambda name: name.hex()
)
def test_names_that_are_not_utf8(codec: Codec, name: bytes) -> None:
    with pytest.raises(PayloadError, match="not UTF-8"):
        codec.decode(frame(codec.digest(), [(5, name, [0])], [(5, 0, b"")]))


def test_names_that_are_too_long_or_twice(codec: Codec) -> None:
    with pytest.raises(PayloadError, match="over the limits"):
        codec.decode(frame(codec.digest(), [(5, b"x" * 1025, [0])], [(5, 0, b"")]))
    with pytest.raises(PayloadError, match="one twice"):
        codec.decode(frame(codec.digest(), [(5, b"x", [0]), (10, b"x", [0])], [(5, 0, b"")]))


def test_dtypes_off_the_list(codec: Codec) -> None:
    for code in range(12, 256):
        with pytest.raises(PayloadError, match="dtype code below 12"):
            codec.decode(frame(codec.digest(), [(code, b"x", [0])], [(5, 0, b"")]))


def test_bools_other_than_0_and_1() -> None:
    codec = codec_from_config([])
    with pytest.raises(PayloadError, match="bools of 0 or 1"):
        codec.decode(frame(codec.digest(), [(0, b"x", [2])], [(5, 2, b"\x01\x02")]))


SCALES = [np.nan, np.inf, -np.inf, -1.0]
SCALED = {
    "uniform": (1, lambda level: struct.pack("b", level)),
    "step": (3, lambda level: struct.pack("<i", level)),
    "dither": (3, lambda level: struct.pack("<i", level)),
}


def scaled(codec_id: str, scale: float, level: int) -> tuple[Codec, bytes]:
    """A payload of 10 equal levels with any scale."""
    codec = codec_from_config(suite.CHAINS[codec_id])
    code, pack = SCALED[codec_id]
    streams = [(10, 1, struct.pack("<f", scale))] + [(8, 1, bytes(8))] * (codec_id == "dither")
    return codec, frame(codec.digest(), [(10, b"x", [10])], [(5, 0, b""), *streams, (code, 10, pack(level) * 10)])


@pytest.mark.parametrize("codec_id", SCALED)
def test_scales_that_are_not_finite(codec_id: str) -> None:
    codec, payload = scaled(codec_id, 0.5, 2)
    assert np.abs(codec.decode(payload)["x"] - 1.0).max() <= 0.25
    for scale in SCALES:
        codec, payload = scaled(codec_id, scale, 2)
        with pytest.raises(PayloadError, match="scale"):
            codec.decode(payload)


@pytest.mark.parametrize("codec_id", SCALED)
def test_a_scale_that_overflows(codec_id: str) -> None:
    codec, payload = scaled(codec_id, 3e38, 100)
    with pytest.raises(PayloadError, match="finite values"):
        codec.decode(payload)


def test_levels_out_of_range() -> None:
    codec, _ = scaled("uniform", 1.0, 0)
    with pytest.raises(PayloadError, match="levels"):
        codec.decode(scaled("uniform", 1.0, -128)[1])
    narrow = codec_from_config([{"id": "uniform", "bit_width": 2}])
    sections = [(5, 0, b""), (10, 1, struct.pack("<f", 1.0)), (1, 1, b"\x02")]
    with pytest.raises(PayloadError, match=r"levels in \[-1, 1\]"):
        narrow.decode(frame(narrow.digest(), [(10, b"x", [1])], sections))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("codec_id", ["topk", "random-mask", "float16", "rans"])
def test_values_that_are_not_finite(codec_id: str, value: float) -> None:
    codec = codec_from_config(suite.CHAINS[codec_id])
    values = np.random.default_rng(0).standard_normal(10).astype(np.float32)
    body = bytearray(suite.encode(codec, {"x": values})[:-4])
    item = np.float16 if codec_id == "float16" else np.float32
    body[-item().itemsize :] = item(value).tobytes()
    with pytest.raises(PayloadError, match="finite"):
        codec.decode(sealed(bytes(body)))


def test_a_mask_that_does_not_fit_its_values() -> None:
    codec = codec_from_config([{"id": "topk", "density": 0.5}])
    body = suite.encode(codec, {"x": np.ones(8, dtype=np.float32)})[:-4]
    at = len(body) - 4 * 4 - 1
    assert body[at] == 0x0F
    for mask in (0x00, 0x07, 0xFF):
        with pytest.raises(PayloadError, match="mask with 4 set"):
            codec.decode(sealed(body[:at] + bytes([mask]) + body[at + 1 :]))


def bomb(codec: Codec, size: int, lanes: int) -> bytes:
    """A few bytes that claim ``size`` values of a coded stream in which one symbol has all the slots."""
    stream = struct.pack("<HI", lanes, 0) + struct.pack("<BBBH", 1, 0, 1, 1) + b"\0" + b"\x80\x80\x01"
    stream += struct.pack("<I", 2**16) * lanes
    streams = [(10, 1, struct.pack("<f", 1.0)), (8, 1, bytes(8))]
    return frame(codec.digest(), [(10, b"x", [size])], [(5, 0, b""), *streams, (5, len(stream), stream)])


def test_an_entropy_coded_bomb_is_refused_in_no_time() -> None:
    codec = codec_from_config(suite.CHAINS["dither-rans"])
    assert codec.decode(bomb(codec, 1000, 1))["x"].size == 1000
    assert codec.decode(bomb(codec, 10**6, 123))["x"].size == 10**6
    with pytest.raises(PayloadError, match="up to 8192 steps"):
        codec.decode(bomb(codec, 2**28, 100))
    assert peak_while_refused(codec, bomb(codec, 2**28, 100)) < 2**20
    assert peak_while_refused(codec, bomb(codec, 10**6, 123), max_values=40_000) < 2**18


@pytest.mark.parametrize("name", ["empty", "dither-rans", "random-mask-dither-rans", "topk-topk-float16-rans", "rans"])
def test_memory_stays_under_the_stated_limit(name: str) -> None:
    codec = codec_from_config(suite.CHAINS[name])
    size = 2**19
    values = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    payload = suite.encode(codec, {"x": values, "y": values[:0]})
    tracemalloc.start()
    try:
        codec.decode(payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 32 * size + 4 * len(payload) + 2**22
