"""Payloads of the trellis coder: round trips, rates and distortions, a second decoder in plain Python, and attacks."""

import base64
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_decoder import coded_stream, leb128

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.trellis import MAX_ERROR, decode_trellis, encode_trellis


def decode(payload: bytes, size: int) -> np.ndarray:
    return decode_trellis(memoryview(payload), size)


def mixed(size: int, seed: int = 0) -> np.ndarray:
    """Stretches of very different scales, with outliers."""
    rng = np.random.default_rng(seed)
    scales = np.repeat(10.0 ** rng.uniform(-2, 1, -(-size // 700)), 700)[:size]
    values = rng.standard_normal(size) * scales
    values[rng.integers(0, size, size // 500)] *= 100
    return values.astype(np.float32)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 5000])
@pytest.mark.parametrize("step", [1e-4, 0.3, 1e3])
def test_every_size_and_scale_comes_back_within_the_error(size: int, step: float) -> None:
    values = mixed(size, size)
    before = values.copy()
    payload = encode_trellis(values, step)
    decoded = decode(payload, size)
    assert decoded.dtype == np.float32
    assert decoded.shape == (size,)
    assert np.abs(decoded.astype(np.float64) - values).max(initial=0) <= MAX_ERROR * float(np.float32(step))
    assert payload == encode_trellis(values, step)
    np.testing.assert_array_equal(values, before)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.floats(-(2.0**60), 2.0**60, width=32), min_size=1, max_size=40).map(
        lambda v: np.array(v * 9, dtype=np.float32)
    ),
    relative=st.floats(2.0**-25, 4.0),
)
def test_any_values_come_back_within_the_error(values: np.ndarray, relative: float) -> None:
    step = max(float(np.abs(values).max()) * relative, 2.0**-90)
    decoded = decode(encode_trellis(values, step), len(values))
    assert np.abs(decoded.astype(np.float64) - values).max() <= MAX_ERROR * step


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf, 2.0**-101, 2.0**-40])
def test_steps_out_of_range_are_refused(step: float) -> None:
    with pytest.raises(ValueError, match="step must be"):
        encode_trellis(np.ones(10, dtype=np.float32), step)


GAUSSIAN = np.random.default_rng(7).standard_normal(2**17).astype(np.float32)


@pytest.mark.parametrize(("step", "goal"), [(0.13, 0.6), (0.5, 0.8), (0.95, 1.0), (1.26, 0.75)])
def test_gaussian_values_are_near_the_bound(step: float, goal: float) -> None:
    """In dB from D = 2^-2R, real bytes; scalar quantization is the control, at the entropy of its levels."""
    payload = encode_trellis(GAUSSIAN, step)
    rate = 8 * len(payload) / len(GAUSSIAN)
    assert gap(rate, np.square(decode(payload, len(GAUSSIAN)).astype(np.float64) - GAUSSIAN).mean()) < goal
    width = step * 2
    levels = np.rint(GAUSSIAN / width).astype(np.int64)
    counts = np.bincount(levels - levels.min())
    entropy = -float((counts[counts > 0] / len(levels) * np.log2(counts[counts > 0] / len(levels))).sum())
    assert gap(entropy, np.square(levels * width - GAUSSIAN).mean()) > goal


def gap(rate: float, distortion: float) -> float:
    return float(10 * np.log10(distortion * 4**rate))


def test_scales_far_apart_share_bits_as_the_bound_does() -> None:
    """Sixteen stretches over 2.5 decades: within a dB of reverse water-filling, where one class would be 6 dB away."""
    scales = 10 ** np.linspace(-2.5, 0, 16)[np.random.default_rng(0).permutation(16)]
    values = (GAUSSIAN.reshape(16, -1) * scales[:, None]).reshape(-1).astype(np.float32)
    payload = encode_trellis(values, 0.1)
    distortion = np.square(decode(payload, len(values)).astype(np.float64) - values).mean()
    levels = np.geomspace(1e-8, 1, 4000)
    rates = np.maximum(np.log2(scales**2 / levels[:, None]) / 2, 0).mean(axis=1)
    bound = np.interp(-8 * len(payload) / len(values), -rates, np.minimum(scales**2, levels[:, None]).mean(axis=1))
    assert 0 < 10 * np.log10(distortion / bound) < 1.0


def test_silence_is_a_header() -> None:
    payload = encode_trellis(np.full(10_000, 0.1, dtype=np.float32), 1.0)
    assert len(payload) == 14
    assert not decode(payload, 10_000).any()


# A second decoder, written from docs/wire-format.md.


def slow_frequencies(hazards: bytes, top: int) -> list[int]:
    shares = [q * q * 2**16 // (q * q + (256 - q) ** 2) for q in hazards] or [0]
    left, masses = 2**30, []
    for magnitude in range(top):
        passed = left * shares[min(magnitude, len(shares) - 1)] // 2**16
        masses.append(left - passed)
        left = passed
    masses.append(left)
    slots = [masses[0]] + [mass // 2 for mass in masses[1:] for _ in range(2)]
    slots = [max(1, (mass + 2**15) // 2**16) for mass in slots]
    while excess := sum(slots) - 2**14:
        order = sorted(range(len(slots)), key=lambda index: (-slots[index], index))
        order = [index for index in order if slots[index] > (1 if excess > 0 else 0)]
        share = max(1, abs(excess) // len(order))
        for index in order[: abs(excess)]:
            slots[index] += -min(share, slots[index] - 1) if excess > 0 else share
    return slots


def slow_decode(data: bytes, size: int) -> list[float]:
    step, lanes, ratio, num_words, number = struct.unpack_from("<fHHIB", data)
    length, at = leb128(data, 13)
    blocks = -(-size // 256)
    classes = [number] * blocks
    if length:
        (coded,) = coded_stream(data[at : at + length], [blocks], [blocks])
        classes, last = [], 0
        for difference in coded:
            last = (last + difference) % (number + 1)
            classes.append(last)
    at += length
    tables = []
    for _ in range(number):
        low_bits, top, extra_bits, *shifts = struct.unpack_from("<BHB6b", data, at)
        at += 10
        slots = []
        for _ in range(2):
            slots.append(slow_frequencies(data[at + 1 : at + 1 + data[at]], top))
            at += 1 + data[at]
        tables.append((low_bits, extra_bits, top, shifts, slots))
    counts = [256 * classes.count(index + 1) for index in range(number)]
    beside = []
    for (low_bits, extra_bits, *_), count in zip(tables, counts, strict=True):
        num_extras, at = leb128(data, at) if extra_bits else (0, at)
        pair = []
        for bits, items in ((extra_bits, num_extras), (low_bits, count)):
            packed = int.from_bytes(data[at : at + -(-bits * items // 8)], "little")
            pair.append([packed >> (bits * item) & (2**bits - 1) for item in range(items)])
            at += -(-bits * items // 8)
        beside.append(pair)
    states = list(struct.unpack_from(f"<{lanes}I", data, at))
    words = list(struct.unpack_from(f"<{num_words}H", data, at + 4 * lanes))
    assert len(data) == at + 4 * lanes + 2 * num_words
    registers = [[0, 0, 0] for _ in range(lanes * ratio)]
    by_class = []
    for (low_bits, extra_bits, top, shifts, slots), (extras, low), count in zip(tables, beside, counts, strict=True):
        values = []
        for index in range(count):
            lane, register = index % lanes, registers[index % (lanes * ratio)]
            b1, q, b3 = register
            offset, symbol, start = states[lane] % 2**14, 0, 0
            while start + slots[q][symbol] <= offset:
                start += slots[q][symbol]
                symbol += 1
            states[lane] = slots[q][symbol] * (states[lane] // 2**14) + offset - start
            if states[lane] < 2**16:
                states[lane] = states[lane] * 2**16 + words.pop(0)
            high = symbol // 2 if symbol % 2 == 0 else -(symbol + 1) // 2
            sign = (high > 0) - (high < 0)
            if extra_bits and abs(high) >= top - 1:
                high += 2 * sign * extras.pop(0)
            level = high * 2**low_bits + low[index] - 2**low_bits // 2
            register[:] = [level % 2 ^ b1 ^ b3, b1, q]
            sign = (level > 0) - (level < 0)
            shift = shifts[3 * q + min(abs(level), 3) - 1] if level else 0
            point = np.float32(64 * (2 * level - q * sign) + sign * shift)
            values.append(float(point * (np.float32(step) * np.float32(2**-6))))
        assert not extras
        by_class.append(iter(values))
    assert not words
    assert set(states) <= {2**16}
    return [next(by_class[c - 1]) if c else 0.0 for c in classes for _ in range(256)][:size]


@pytest.mark.parametrize("step", [1e-4, 0.02, 0.5, 4.0])
def test_a_decoder_written_from_the_text_agrees(step: float) -> None:
    values = mixed(3000, 1)
    payload = encode_trellis(values, step)
    assert slow_decode(payload, 3000) == decode(payload, 3000).tolist()


GOLDEN = (
    "AACAPwIAAQBnAAAAAgoAAAAAAAAAAQEBAAQACO4AAP3+AANjIf8C/yYBJQAA7vgDA/cGAta5A9HiugHfFW1GBWkLDSZgJfIMElsIOvoIGHjNDL"
    "MJ4Ccx0Kqo4rJFFfcO//17AEuWnJnBA+aHjUvmhz54OPb4+GbXzhQKfkEg8RJJr4h5oXocnEb1K5clQPgyf5jrOeRJj5pMIJXuYVnklGIdFnfM"
    "v3fy3tD/YNlJpr4HgCFljH5VRGbH7C1tc2cj7SgZHcokscd2Bs6jnbzgH3xCdR8nIDKCY/nslKVdbXLWODge+ZrLHiagH0A8wRvt2QOPtSwKUn"
    "CU6vy8Q95xBa2MWzeWUOUxRNFFTvweFbuHCWfLluO0Znc2wGZJb2wYGTyq8Vqi4RDfUi7QEi+HJ83q"
)
GOLDEN_VALUES = [0.0, 1.71875, 1.71875, 900.0, 0.953125, 6.046875, -46.046875, -11.09375, 0.0]


def test_golden_payload() -> None:
    """Bytes that were written once are decodable for ever."""
    payload = base64.b64decode(GOLDEN)
    decoded = decode(payload, 600)
    assert decoded[[0, 1, 2, 3, 255, 300, 301, 511, 599]].tolist() == GOLDEN_VALUES
    assert slow_decode(payload, 600) == decoded.tolist()


def check_refused_or_decoded(payload: bytes, size: int) -> bool:
    try:
        decoded = decode(payload, size)
    except PayloadError:
        return False
    assert decoded.shape == (size,)
    assert np.isfinite(decoded).all()
    return True


def test_every_byte_changed() -> None:
    """All of what comes before the lanes, and some of their words."""
    values = mixed(700, 2)
    for step in (0.01, 1.0):
        payload = encode_trellis(values, step)
        for at in [*range(min(100, len(payload))), *range(100, len(payload), 17)]:
            for value in {0, 0xFF, payload[at] ^ 1} - {payload[at]}:
                check_refused_or_decoded(payload[:at] + bytes([value]) + payload[at + 1 :], 700)


def test_every_truncation_and_another_size() -> None:
    payload = encode_trellis(mixed(700, 3), 0.5)
    assert check_refused_or_decoded(payload, 700)
    for at in range(len(payload)):
        assert not check_refused_or_decoded(payload[:at], 700)
    assert not check_refused_or_decoded(payload + b"\0", 700)
    assert not check_refused_or_decoded(payload, 7000)


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=200), size=st.integers(0, 2000))
def test_noise(data: bytes, size: int) -> None:
    check_refused_or_decoded(data, size)
    check_refused_or_decoded(struct.pack("<fHHIB", 1.0, 1, 1, len(data) // 4, 1) + b"\0" + data, size)


@pytest.mark.parametrize(
    ("lanes", "ratio", "words"), [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (65535, 65535, 0), (1, 1, 2**32 - 1)]
)
def test_claims_are_refused_without_memory_or_time(lanes: int, ratio: int, words: int) -> None:
    """2**27 values claimed in a few bytes: too many steps for so few lanes, or lanes that are not there."""
    head = (
        struct.pack("<fHHIB", 1.0, lanes, ratio, words, 1) + b"\0" + struct.pack("<BHB6b", 0, 1, 0, *[0] * 6) + b"\0\0"
    )
    tracemalloc.start()
    with pytest.raises(PayloadError):
        decode(head, 2**27)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


@pytest.mark.parametrize("step", [3e-4, 0.5])
def test_memory_of_decoding_is_within_the_limit(step: float) -> None:
    values = mixed(2**16, 4)
    payload = encode_trellis(values, step)
    decode(payload, len(values))
    tracemalloc.start()
    decode(payload, len(values))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 32 * len(values) + 4 * len(payload) + 4 * 2**20
