"""bfloat16 and float8 against the definition of the formats."""

import numpy as np
import pytest

from contracts import codec_suite as suite
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.bfloat import from_bfloat16, to_bfloat16
from fedcomp.codecs.stages.float8 import Float8

FORMATS = {"e4m3": (4, 3, 7, 448.0), "e5m2": (5, 2, 15, 57344.0)}
"""Bits of exponent and mantissa, bias, largest number."""


def numbers_of(name: str) -> list[float]:
    """All numbers that are finite and not negative, in order of their codes, from the definition."""
    _, mantissa, bias, top = FORMATS[name]
    found = []
    for code in range(128):
        exponent, fraction = divmod(code, 2**mantissa)
        value = (fraction / 2**mantissa + (exponent > 0)) * 2.0 ** (max(exponent, 1) - bias)
        if value <= top:
            found.append(value)
    return found


def slow_code(value: float, numbers: list[float]) -> int:
    """The nearest number's code; of two that are equally near, the even one."""
    distances = [abs(abs(value) - number) for number in numbers]
    best = min(range(len(numbers)), key=lambda code: (distances[code], code % 2))
    return best + (128 if np.signbit(value) else 0)


def interesting(numbers: list[float]) -> np.ndarray:
    """Every number, every border between two and its neighbours in float32, and values in between, of both signs."""
    exact = np.array(numbers, dtype=np.float32)
    borders = (exact[1:] + exact[:-1]) / 2
    near = np.concatenate([np.nextafter(borders, np.float32(np.inf)), np.nextafter(borders, np.float32(0))])
    drawn = np.random.default_rng(0).uniform(0, numbers[-1], 300) * 10.0 ** np.random.default_rng(1).uniform(-9, 0, 300)
    magnitudes = np.concatenate([exact, borders, near, drawn.astype(np.float32), [1e-45, 1e-30]])
    return np.concatenate([magnitudes, -magnitudes]).astype(np.float32)


@pytest.mark.parametrize("name", FORMATS)
def test_rounding_agrees_with_the_definition(name: str) -> None:
    numbers = numbers_of(name)
    values = interesting(numbers)
    assert Float8(name)._round(values).tolist() == [slow_code(float(value), numbers) for value in values]


@pytest.mark.parametrize("name", FORMATS)
def test_every_code_comes_back(name: str) -> None:
    """With the largest number among them the scale is 1, and all numbers of the format come back bit for bit."""
    numbers = numbers_of(name)
    assert (len(numbers), numbers[-1]) == ({"e4m3": 127, "e5m2": 124}[name], FORMATS[name][3])
    values = np.array([*numbers, *(-number for number in numbers)], dtype=np.float32)
    codec = codec_from_config([{"id": "float8", "format": name}])
    assert codec.decode(suite.encode(codec, {"x": values}))["x"].tobytes() == values.tobytes()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("peak", [1e-40, 1e-30, 0.3, 447.9, 448.0, 448.1, 57345.0, 1e25])
def test_the_scale_is_the_smallest_that_fits(name: str, peak: float) -> None:
    top = FORMATS[name][3]
    exponent = Float8(name)._exponent(peak)
    assert peak <= top * 2.0**exponent
    assert exponent == -120 or peak > top * 2.0 ** (exponent - 1)


def test_every_tensor_has_a_scale_of_its_own() -> None:
    values = np.random.default_rng(3).standard_normal(200).astype(np.float32)
    arrays = {"a": values, "b": values * np.float32(2.0**-40), "c": values * np.float32(2.0**40)}
    codec = codec_from_config([{"id": "float8"}])
    decoded = codec.decode(suite.encode(codec, arrays))
    assert np.array_equal(decoded["a"] * np.float32(2.0**-40), decoded["b"])
    assert np.array_equal(decoded["a"] * np.float32(2.0**40), decoded["c"])
    assert np.square(decoded["a"] - values).sum() / np.square(values).sum() < 1e-3


def test_bfloat16_is_the_nearest_of_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 0x7F00, 3000).astype(np.uint32) << 16
    patterns = np.concatenate([bits, bits + 0x8000, bits + 0x8001, bits + 0x7FFF, bits + rng.integers(0, 65536, 3000)])
    values = patterns.astype(np.uint32).view(np.float32)
    values = np.concatenate([values, -values])
    found = from_bfloat16(to_bfloat16(values)).astype(np.float64)
    low = (values.view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)
    high = ((values.view(np.uint32) & 0xFFFF0000) + 0x10000).view(np.float32).astype(np.float64)
    to_low, to_high = np.abs(values - low), np.abs(high - values)
    even = (values.view(np.uint32) >> 16) % 2 == 0
    assert np.array_equal(found, np.where((to_low < to_high) | ((to_low == to_high) & even), low, high))


def test_bfloat16_keeps_what_float16_refuses() -> None:
    codec = codec_from_config([{"id": "bfloat16"}])
    values = np.array([1e25, -1e-25, 2.0**100, 0.0], dtype=np.float32)
    decoded = codec.decode(suite.encode(codec, {"x": values}))["x"]
    np.testing.assert_allclose(decoded, values, rtol=2.0**-8)
    assert len(suite.encode(codec, {"x": values})) == len(
        suite.encode(codec_from_config([{"id": "float16"}]), {"x": values * 0})
    )
