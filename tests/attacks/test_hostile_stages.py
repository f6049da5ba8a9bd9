"""Contents that no encoder writes, stage by stage: arrays or ``PayloadError``, within the stated memory."""

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hostile_payloads import HEADER, frame, sealed

from contracts import codec_suite as suite
from fedcomp.arrays import Arrays
from fedcomp.codecs import Codec, PayloadError, codec_from_config

NAMES = [
    *("layer-topk-sign-rans", "importance-topk", "structured", "structured-channels-bfloat16", "released-mask"),
    *("low-rank", "sketch", "sketch-mean", "sketch-top", "block-uniform", "channel-uniform"),
    *("nf4", "rotate", "rotate-3-rans", "rotate-4", "sign", "ternary", "ternary-threshold", "fixed-point"),
    *("bfloat16", "float8", "float8-e5m2", "topk-float16-zstd"),
]
RNG = np.random.default_rng(2)
SMALL = {"w": RNG.standard_normal((7, 5)).astype(np.float32), "b": RNG.standard_normal(3).astype(np.float32)}
NEGATIVE, INFINITE, NAN = 0xBF80, 0x7F80, 0x7FC0
"""Bits of bfloat16 that are no scale."""


@pytest.fixture(params=NAMES, scope="module")
def codec(request: pytest.FixtureRequest) -> Codec:
    return suite.codec_of(request.param)


def check_decodes_or_refuses(codec: Codec, payload: bytes, arrays: Arrays) -> bool:
    """Anything but finite arrays or ``PayloadError`` fails the test. Returns whether there were arrays."""
    try:
        decoded = codec.decode(payload, max_values=2**16, reference=suite.context_for(codec, arrays).reference)
    except PayloadError:
        return False
    assert all(np.isfinite(array).all() for array in decoded.values())
    return True


def test_every_byte_changed_under_a_right_checksum(codec: Codec) -> None:
    body = suite.encode(codec, SMALL)[:-4]
    for at in range(len(body)):
        for value in {0, 0x7F, 0xFF} - {body[at]}:
            check_decodes_or_refuses(codec, sealed(body[:at] + bytes([value]) + body[at + 1 :]), SMALL)
        assert not check_decodes_or_refuses(codec, sealed(body[:at]), SMALL)
    assert not check_decodes_or_refuses(codec, sealed(body + b"\0"), SMALL)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_sections_of_any_contents(codec: Codec, data: st.DataObject) -> None:
    body = bytearray(suite.encode(codec, SMALL)[:-4])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(HEADER, len(body) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=6))
        body[at : at + len(noise)] = noise[: len(body) - at]
    check_decodes_or_refuses(codec, sealed(bytes(body)), SMALL)


@pytest.mark.parametrize("shape", [[2**28], [2**28, 1], [1, 2**28], [2**14, 2**14]], ids=str)
def test_a_layout_is_not_believed_before_there_are_bytes(codec: Codec, shape: list[int]) -> None:
    payload = frame(codec.digest(), [(10, b"x", shape)], [(5, 0, b""), (10, 1, bytes(4)), (10, 1, bytes(4))])
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError):
            codec.decode(payload, reference=SMALL if codec.needs_reference else None)
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


def test_memory_stays_under_the_stated_limit(codec: Codec) -> None:
    arrays = {"x": np.random.default_rng(0).standard_normal((2**9, 2**8)).astype(np.float32)}
    payload, reference = suite.encode(codec, arrays), suite.context_for(codec, arrays).reference
    tracemalloc.start()
    try:
        codec.decode(payload, reference=reference)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 32 * 2**17 + 4 * len(payload) + 2**22


def crafted(config: list[dict], shape: list[int], *sections: tuple[int, int, bytes]) -> tuple[Codec, bytes]:
    """A codec and a payload of one float32 array with any sections: (dtype code, number of values, data)."""
    codec = codec_from_config(config)
    return codec, frame(codec.digest(), [(10, b"x", shape)], [(5, 0, b""), *sections])


def check_refused(found: tuple[Codec, bytes], match: str) -> None:
    codec, payload = found
    with pytest.raises(PayloadError, match=match):
        codec.decode(payload)


SCALED = {
    "block-uniform": ({"bit_width": 4}, (1, 10, bytes([7, 0xF9] * 5))),
    "nf4": ({}, (5, 5, bytes([0x0F] * 5))),
    "sign": ({}, (0, 10, bytes([0xFF, 0x03]))),
    "ternary": ({}, (1, 10, bytes([1, 0, 0xFF, 0, 0] * 2))),
}
"""Options and values that are right."""


@pytest.mark.parametrize("stage", SCALED)
def test_scales_that_are_no_scales(stage: str) -> None:
    options, values = SCALED[stage]
    codec, payload = crafted([{"id": stage, **options}], [10], (6, 1, struct.pack("<H", 0x4000)), values)
    assert np.abs(codec.decode(payload)["x"]).max() in (2.0, 14.0)
    for scale in (NEGATIVE, INFINITE, NAN, 0x8000, 0xFFFF):
        found = crafted([{"id": stage, **options}], [10], (6, 1, struct.pack("<H", scale)), values)
        check_refused(found, "scales that are finite and not negative")


@pytest.mark.parametrize(
    ("config", "streams", "good", "bad", "match"),
    [
        ({"id": "block-uniform", "bit_width": 4}, True, (1, b"\x07"), b"\x08", r"levels in \[-7, 7\]"),
        ({"id": "block-uniform", "bit_width": 8}, True, (1, b"\x81"), b"\x80", r"levels in \[-127, 127\]"),
        ({"id": "ternary"}, True, (1, b"\xff"), b"\x02", r"levels in \[-1, 1\]"),
        ({"id": "ternary"}, True, (1, b"\xff"), b"\x80", r"levels in \[-1, 1\]"),
        ({"id": "nf4"}, True, (5, b"\x0f"), b"\x1f", "zero bits after the last code"),
        (
            {"id": "fixed-point", "bit_width": 4, "fraction_bits": 1},
            False,
            (1, b"\xf9"),
            b"\xf8",
            r"levels in \[-7, 7\]",
        ),
        (
            {"id": "fixed-point", "bit_width": 16, "fraction_bits": 1},
            False,
            (2, b"\x01\x80"),
            b"\x00\x80",
            r"levels in \[-32767, 32767\]",
        ),
        (
            {"id": "fixed-point", "bit_width": 17, "fraction_bits": 1},
            False,
            (3, b"\xff\xff\x00\x00"),
            b"\x00\x00\x00\x80",
            r"levels in \[-65535, 65535\]",
        ),
    ],
)
def test_levels_out_of_range(config: dict, streams: bool, good: tuple, bad: bytes, match: str) -> None:
    scale = [(6, 1, struct.pack("<H", 0x3F80))] if streams else []
    code, data = good
    codec, payload = crafted([config], [1], *scale, (code, 1, data))
    assert codec.decode(payload)["x"][0] != 0
    check_refused(crafted([config], [1], *scale, (code, 1, bad)), match)


@pytest.mark.parametrize(("name", "codes"), [("e4m3", [0x7F, 0xFF]), ("e5m2", [0x7C, 0x7D, 0x7F, 0xFC, 0xFF])])
def test_float8_codes_and_exponents_that_stand_for_no_number(name: str, codes: list[int]) -> None:
    config = [{"id": "float8", "format": name}]
    codec, payload = crafted(config, [1], (1, 1, b"\x00"), (5, 1, bytes([codes[0] - 1])))
    assert codec.decode(payload)["x"][0] == {"e4m3": 448, "e5m2": 57344}[name]
    for code in codes:
        check_refused(crafted(config, [1], (1, 1, b"\x00"), (5, 1, bytes([code]))), "codes of finite numbers")
    for exponent in (-121, -128, 101, 127):
        found = crafted(config, [1], (1, 1, struct.pack("b", exponent)), (5, 1, b"\x01"))
        check_refused(found, r"exponents in \[-120, 100\]")


@pytest.mark.parametrize("scale", [np.nan, np.inf, -np.inf, -1.0])
def test_rotation_scales_that_are_no_scales(scale: float) -> None:
    for bit_width in (1, 4):
        bits = (0, 128 * bit_width, bytes(16 * bit_width))
        seed = (8, 1, bytes(8))
        config = [{"id": "rotate", "bit_width": bit_width}]
        codec, payload = crafted(config, [7], (10, 1, struct.pack("<f", 0.5)), seed, bits)
        assert np.isfinite(codec.decode(payload)["x"]).all()
        check_refused(crafted(config, [7], (10, 1, struct.pack("<f", scale)), seed, bits), "scales that are finite")


def test_a_rotation_scale_that_overflows() -> None:
    config, seed = [{"id": "rotate", "bit_width": 1}], (8, 1, bytes(8))
    check_refused(crafted(config, [8], (10, 1, struct.pack("<f", 3e38)), seed, (0, 128, bytes(16))), "finite values")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("options", [{}, {"estimate": "mean"}, {"top_density": 0.5}])
def test_cells_that_are_not_finite(value: float, options: dict) -> None:
    cells = struct.pack("<4f", 1.0, value, 0.0, 0.0)
    found = crafted([{"id": "sketch", "density": 0.5, "rows": 2, **options}], [8], (8, 1, bytes(8)), (10, 4, cells))
    check_refused(found, "finite cells")


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_factors_whose_product_is_not_finite(value: float) -> None:
    factors = struct.pack("<6f", *[value] * 6)
    check_refused(crafted([{"id": "low-rank", "rank": 1}], [3, 3], (10, 6, factors)), "finite values")


@pytest.mark.parametrize("value", [0x7F80, 0x7FC0, 0xFF80])
def test_bfloat16_values_that_are_not_finite(value: int) -> None:
    check_refused(crafted([{"id": "bfloat16"}], [1], (6, 1, struct.pack("<H", value))), "finite values")


def test_masks_with_wrong_counts() -> None:
    values = (10, 4, struct.pack("<4f", 1, 2, 3, 4))
    for mask in (0x00, 0x07, 0xFF):
        marks = (0, 8, bytes([mask]))
        check_refused(crafted([{"id": "importance-topk", "density": 0.5}], [8], marks, values), "mask with 4 set")
        check_refused(crafted([{"id": "layer-topk", "density": 0.5}], [8], marks, values), "mask with 4 set")
    for mask in (0x0, 0x1, 0xF):
        found = crafted([{"id": "structured", "density": 0.5}], [4, 2], (0, 4, bytes([mask])), values)
        check_refused(found, "mask with 2 set")


def test_a_mask_that_moves_values_from_one_layer_to_another() -> None:
    """The sum of the counts is right; only per array something is wrong."""
    codec = codec_from_config([{"id": "layer-topk", "density": 0.5}])
    arrays = [(10, b"a", [4]), (10, b"b", [4])]
    values = (10, 4, struct.pack("<4f", 1, 2, 3, 4))
    assert codec.decode(frame(codec.digest(), arrays, [(5, 0, b""), (0, 8, b"\x33"), values]))["b"][1] == 4
    with pytest.raises(PayloadError, match="mask with 2 set in one array"):
        codec.decode(frame(codec.digest(), arrays, [(5, 0, b""), (0, 8, b"\x0f"), values]))


def zstd_frame(content: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard", reason="zstandard is not installed: pip install fedcomp[zstd]")
    return zstandard.ZstdCompressor().compress(content)


def test_zstd_frames_that_are_not_what_must_come() -> None:
    good = zstd_frame(bytes(400))
    config = [{"id": "zstd"}]
    codec, payload = crafted(config, [100], (5, len(good), good))
    assert not codec.decode(payload)["x"].any()
    for bad in (b"", good[:-1], good[1:], good + good, good + b"\0", zstd_frame(bytes(399)), zstd_frame(bytes(401))):
        check_refused(crafted(config, [100], (5, len(bad), bad)), "frame|bytes")


def test_a_zstd_bomb_is_refused_before_it_goes_off() -> None:
    bomb = zstd_frame(bytes(2**26))
    assert len(bomb) < 2**14
    codec, payload = crafted([{"id": "zstd"}], [100], (5, len(bomb), bomb))
    tracemalloc.start()
    try:
        with pytest.raises(PayloadError, match="expected a frame of 400 bytes, got one of 67108864"):
            codec.decode(payload)
        assert tracemalloc.get_traced_memory()[1] < 2**18
    finally:
        tracemalloc.stop()


def test_a_zstd_frame_that_lies_about_its_size_is_refused() -> None:
    """The frame header says 400 bytes (single segment, two bytes of size), the blocks hold 2**20."""
    good, bomb = zstd_frame(bytes(400)), zstd_frame(bytes(2**20))
    zstandard = pytest.importorskip("zstandard")
    head = zstandard.frame_header_size(good)
    lying = good[:head] + bomb[zstandard.frame_header_size(bomb) :]
    check_refused(crafted([{"id": "zstd"}], [100], (5, len(lying), lying)), "frame|bytes")
