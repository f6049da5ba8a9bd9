"""Payloads of rate that no encoder writes: arrays or ``PayloadError``, in little time, within the stated memory."""

import struct
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hostile_payloads import frame, peak_while_refused, sealed

from contracts import codec_suite as suite
from fedcomp.codecs import Codec, PayloadError, codec_from_config
from fedcomp.codecs.cursor import dump_number
from fedcomp.codecs.entropy.hazards import hazard_frequencies
from fedcomp.codecs.entropy.lanes import Batch, LaneEncoder
from fedcomp.codecs.entropy.symbols import to_unsigned
from fedcomp.codecs.rate.sequence import Sequence

NAMES = ["rate", "rate-bytes", "rate-nmse", "rate-dither", "rate-max", "topk-rate"]
RNG = np.random.default_rng(4)
VALUES = (RNG.standard_normal(96) * np.repeat([1.0, 0.01, 0.3], 32)).astype(np.float32)


@pytest.fixture(params=NAMES, scope="module")
def codec(request: pytest.FixtureRequest) -> Codec:
    return suite.codec_of(request.param)


def check_decodes_or_refuses(codec: Codec, payload: bytes) -> bool:
    """Anything but finite arrays or ``PayloadError`` fails the test. Returns whether there were arrays."""
    try:
        decoded = codec.decode(payload, max_values=2**16)
    except PayloadError:
        return False
    assert all(np.isfinite(array).all() for array in decoded.values())
    return True


def test_every_byte_changed_under_a_right_checksum(codec: Codec) -> None:
    body = suite.encode(codec, {"x": VALUES})[:-4]
    start = body.index(b"x") + 5
    for at in range(start, len(body)):
        for value in {0, 0xFF, body[at] ^ 1} - {body[at]}:
            check_decodes_or_refuses(codec, sealed(body[:at] + bytes([value]) + body[at + 1 :]))
        assert not check_decodes_or_refuses(codec, sealed(body[:at]))
    assert not check_decodes_or_refuses(codec, sealed(body + b"\0"))


def raw(codec: Codec, size: int, coded: bytes) -> bytes:
    """A payload of ``size`` values with any coded bytes."""
    return frame(codec.digest(), [(10, b"x", [size])], [(5, 0, b""), (5, len(coded), coded)])


def coded_bytes(codec: Codec, values: np.ndarray) -> bytes:
    """What rate wrote for one array."""
    body = suite.encode(codec, {"x": values})[:-4]
    (size,) = struct.unpack_from("<I", body, body.index(b"x") + 1 + 4 + 5 + 1)
    return body[-size:]


PLAIN = suite.codec_of("rate")
DITHERED = suite.codec_of("rate-dither")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutations_of_what_was_coded(data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from([PLAIN, DITHERED]))
    coded = bytearray(coded_bytes(codec, VALUES))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(coded)))
        kind = data.draw(st.sampled_from(["set", "set", "insert", "delete"]))
        noise = data.draw(st.binary(min_size=1, max_size=4))
        if kind == "set":
            coded[at : at + len(noise)] = noise
        elif kind == "insert":
            coded[at:at] = noise
        else:
            del coded[at : at + len(noise)]
    check_decodes_or_refuses(codec, raw(codec, data.draw(st.sampled_from([0, 1, 31, 95, 96, 97, 4000])), bytes(coded)))


@settings(max_examples=40, deadline=None)
@given(noise=st.binary(min_size=1, max_size=80), size=st.integers(0, 300))
def test_noise_behind_a_right_head(noise: bytes, size: int) -> None:
    for codec in (PLAIN, DITHERED, suite.codec_of("rate-max")):
        check_decodes_or_refuses(codec, raw(codec, size, noise))
        check_decodes_or_refuses(codec, raw(codec, size, b"\0" + noise))
        check_decodes_or_refuses(codec, raw(codec, size, struct.pack("<BBf3b", 0, 0, 1.0, 0, 0, 0) + noise))
        check_decodes_or_refuses(codec, raw(codec, size, struct.pack("<BBfQ", 8, 1, 1.0, 7) + noise))


def plain(
    *,
    head: int = 0,
    classes: int = 1,
    step: float = 1.0,
    tables: bytes = b"\x01\x00\x01\x40",
    lanes: int = 1,
    states: tuple[int, ...] | None = None,
    rest: bytes | None = None,
    groups: tuple[int, ...] = (0,),
    carried: int = 0,
) -> bytes:
    """Coded bytes with any field; left alone, those of groups of the default table."""
    encoder = LaneEncoder(lanes, np.full(lanes, carried, dtype=np.uint16))
    if groups:
        slots = hazard_frequencies(b"\x01\x40", 1, signed=False)
        encoder.push(Batch(np.array(groups, dtype=np.uint16), slots))
    right_states, words = encoder.finish()
    start = struct.pack("<BBf3b", head, classes - 1, step, 0, 0, 0) + tables + dump_number(lanes)
    found = right_states.tolist() if states is None else states
    return start + struct.pack(f"<{len(found)}I", *found) + (words.tobytes() if rest is None else rest)


def check_refused(coded: bytes, match: str, size: int = 1) -> None:
    with pytest.raises(PayloadError, match=match):
        PLAIN.decode(raw(PLAIN, size, coded))


def test_fields_over_their_limits() -> None:
    assert PLAIN.decode(raw(PLAIN, 1, plain()))["x"].tolist() == [0.0]
    right = plain(groups=(0, 1, 0, 0), carried=1)
    assert PLAIN.decode(raw(PLAIN, 4, right))["x"].tolist() == [0.0, -1.0, 0.0, 0.0]
    check_refused(plain(groups=(0, 1, 0, 0), carried=3), "zero bits after the last bool", size=4)
    check_refused(plain(groups=(0, 1, 0, 0), carried=0x101), "beside the lanes", size=4)
    check_refused(right + b"\0", "beside the lanes", size=4)
    check_refused(plain(head=6), "blocks of 32 to 1024")
    check_refused(plain(head=16), "blocks of 32 to 1024")
    for step in (0.0, -1.0, 2.0**-119, np.inf, np.nan):
        check_refused(plain(step=step), "a step of 2\\*\\*-118")
    check_refused(plain(tables=b"\xff\x08\x10\x01\x40"), "an alphabet of 1152")
    check_refused(plain(tables=b"\x04\x0f\x01\x40"), "an alphabet of 5 in groups of 16")
    check_refused(plain(tables=b"\x01\x00\x41\x01\x40"), "octaves")
    check_refused(plain(tables=b"\x01\x00\x41\x18\x40"), "octaves")
    check_refused(plain(tables=b"\x01\xf0\x41\x0a\x40"), "15 low bits and 10 octaves")
    check_refused(plain(tables=b"\x01\x00\x81\x40"), "frequencies or hazards, got both")
    check_refused(plain(tables=b"\x01\x00\x80\x01\x01"), "expected 2 frequencies of sum 16384")
    check_refused(plain(lanes=0, groups=()), "on 0 lanes")
    check_refused(plain(tables=b"\x00"), "got 0 on 1 lanes")
    check_refused(plain(states=(2**16 - 1,)), "lane states of at least")
    check_refused(plain() + b"\0", "beside the lanes")
    check_refused(plain(groups=(1,) * 12, rest=b""), "ends early", size=12)
    check_refused(plain(states=(2**31,)), "do not end|beside")
    check_refused(plain(), "no bytes for no values", size=0)


def test_classes_that_have_no_block_or_are_out_of_range() -> None:
    check_refused(plain(classes=2, tables=b"\x00\x00\x00", groups=()), "every class to have a block|ends early")
    sequence = Sequence(2, False, b"\x01\x80")
    for classes, refused in (([0, 1], False), ([0, 0], True), ([0, 1 + 1], True)):
        encoder = LaneEncoder(1)
        numbers = to_unsigned(np.array(classes, dtype=np.int16) - np.int16(1))
        encoder.push(Batch(numbers, sequence.slots))
        states, words = encoder.finish()
        coded = plain(classes=2, tables=sequence.hazards + b"\0\0", states=tuple(states), rest=words.tobytes())
        if refused:
            check_refused(coded, "classes below 2|every class", size=64)
        else:
            assert not PLAIN.decode(raw(PLAIN, 64, coded))["x"].any()


def bomb(size: int, lanes: int) -> bytes:
    """A few bytes that claim ``size`` values, all zeros but for what the lanes say."""
    return plain(tables=b"\x01\x0b\x01\x01", lanes=lanes, states=(2**16,) * lanes, groups=())


def test_bombs_are_refused_in_no_time() -> None:
    started = time.process_time()
    with pytest.raises(PayloadError, match="up to 16384 steps"):
        PLAIN.decode(raw(PLAIN, 2**22, bomb(2**22, 20)))
    assert peak_while_refused(PLAIN, raw(PLAIN, 2**22, bomb(2**22, 20))) < 2**22
    assert peak_while_refused(PLAIN, raw(PLAIN, 2**28, b"\0" * 6)) < 2**18
    assert time.process_time() - started < 1.0


def test_zeros_of_any_number_take_a_byte_a_value_beside_them() -> None:
    size = 2**20
    coded = plain(tables=b"\x00", lanes=0, groups=())
    tracemalloc.start()
    try:
        found = PLAIN.decode(raw(PLAIN, size, coded))["x"]
        assert tracemalloc.get_traced_memory()[1] <= 6 * size + 2**18
    finally:
        tracemalloc.stop()
    assert not found.any()
    assert codec_from_config(PLAIN.config()).decode(raw(PLAIN, size, b""))["x"].tobytes() == found.tobytes()


@pytest.mark.parametrize("bits", [0.3, 12.0])
@pytest.mark.parametrize("options", [{}, {"dither": True}])
def test_memory_stays_under_the_stated_limit(bits: float, options: dict) -> None:
    codec = codec_from_config([{"id": "rate", "bits": bits, **options}])
    size = 2**17
    values = (RNG.standard_t(2, size) * np.repeat([1.0, 1e-3], size // 2)).astype(np.float32)
    payload = suite.encode(codec, {"x": values})
    tracemalloc.start()
    try:
        codec.decode(payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 32 * size + 4 * len(payload) + 2**22
