"""The rotation: exact on the way back, and unbiased with the known errors whatever the values."""

import numpy as np
import pytest
from slow_decoder import philox_words

from contracts import codec_suite as suite
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.hadamard import BLOCK, Rotation, padded, segments
from fedcomp.codecs.stages.rotate import _CENTROIDS

NMSE = {1: 0.5708, 2: 0.1331, 3: 0.0358, 4: 0.0096}
RNG = np.random.default_rng(0)
SOURCES = {
    "gaussian": RNG.standard_normal(10 * BLOCK),
    "student-t3": RNG.standard_t(3, 10 * BLOCK),
    "log-normal": RNG.standard_normal(10 * BLOCK) * np.exp(2 * RNG.standard_normal(10 * BLOCK)),
    "sparse": RNG.standard_normal(10 * BLOCK) * (RNG.random(10 * BLOCK) < 0.01),
}


def decoded(values: np.ndarray, bit_width: int, seed: int = 0) -> np.ndarray:
    codec = codec_from_config([{"id": "rotate", "bit_width": bit_width}])
    return codec.decode(suite.encode(codec, {"x": values.astype(np.float32)}, seed))["x"].astype(np.float64)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("bit_width", NMSE)
def test_the_error_does_not_depend_on_the_values(source: str, bit_width: int) -> None:
    values = SOURCES[source]
    error = np.square(decoded(values, bit_width) - values).sum() / np.square(values).sum()
    assert error == pytest.approx(NMSE[bit_width], rel=0.04)


def slopes(estimates: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """How much of the small values, and of the one large one, is in the mean of estimates."""
    mean = estimates.mean(axis=0)
    small = values != values.max()
    return float(mean[small] @ values[small] / np.square(values[small]).sum()), float(mean[~small][0] / values.max())


def test_small_values_beside_a_large_one_are_not_lost() -> None:
    """A standard error of the first slope is 0.012 (error energy 0.57 * 14,096 on 4,095 values, 256 payloads)."""
    values = RNG.standard_normal(BLOCK)
    values[17] = 100.0
    small, large = slopes(np.stack([decoded(values, 1, seed) for seed in range(256)]), values)
    assert small == pytest.approx(1, abs=0.08)
    assert large == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("size", [2, 20])
def test_few_values_are_unbiased_too(size: int) -> None:
    """Within a twentieth of the largest one; blocks of no more than ``size`` values could only scale the signs."""
    values = np.linspace(-1, 0.7, size).astype(np.float32)
    mean = np.stack([decoded(values, 1, seed) for seed in range(500)]).mean(axis=0)
    assert np.abs(mean - values).max() < 0.05


def test_one_transform_alone_loses_them() -> None:
    """The negative control: signs and a Hadamard transform once, as usually done."""
    values = RNG.standard_normal(1024)
    values[17] = 50.0
    hadamard = np.where(np.bitwise_count(np.arange(1024)[:, None] & np.arange(1024)) % 2, -1.0, 1.0)
    signs = RNG.choice([-1.0, 1.0], (256, 1024))
    rotated = (signs * values) @ hadamard
    scales = np.square(values).sum() / np.abs(rotated).sum(axis=1, keepdims=True)
    small, _ = slopes(signs * (np.sign(rotated) @ hadamard) * scales, values)
    assert abs(small - 1) > 0.3


@pytest.mark.parametrize("size", [0, 1, 2, 3, 64, 65, 129, 4095, 4096, 4097, 70_000, 17 * 4096])
def test_blocks_cover_every_value(size: int) -> None:
    found = list(segments(size))
    assert sum(segment.count * segment.size for segment in found) == padded(size) >= size
    assert sum(segment.count for segment in found) == -(-size // BLOCK)
    starts = np.cumsum([0, *(segment.count * segment.size for segment in found)])[:-1]
    assert [segment.start for segment in found] == starts.tolist()
    rest = size % BLOCK
    assert padded(size) - size < max(rest, 1) or padded(size) - size + rest == 128


@pytest.mark.parametrize("size", [1, 2, 5, 64, 100, 1000, 4096, 4096 * 17 + 3])
def test_back_is_the_transpose_of_there(size: int) -> None:
    rotation, again = (Rotation(5, 3, size) for _ in range(2))
    for segment in segments(size):
        shape = (segment.count, segment.size)
        left, right = (RNG.integers(-3, 4, shape).astype(np.float32) for _ in range(2))
        there, back = left.copy(), right.copy()
        rotation.forward(there, segment)
        again.transpose(back, segment)
        assert np.array_equal((there * right).sum(axis=1), (left * back).sum(axis=1))
        again.transpose(there, segment)
        assert np.array_equal(there, left * segment.size**2)


def walsh(values: np.ndarray) -> np.ndarray:
    """The Hadamard transform in float64, by sums and differences."""
    for width in 2 ** np.arange(values.size.bit_length() - 1):
        pairs = values.reshape(-1, 2, width)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
    return values


@pytest.mark.parametrize("bit_width", NMSE)
def test_the_largest_sums_that_there_can_be_are_exact(bit_width: int) -> None:
    top = max(_CENTROIDS[bit_width])
    (segment,) = segments(BLOCK)
    words = np.array(philox_words(9, 3, 2 * BLOCK // 32), dtype="<u4").view(np.uint8)
    flips = 1 - 2 * np.unpackbits(words, bitorder="little").reshape(2, BLOCK).astype(np.float64)
    one_place = np.eye(1, BLOCK, 5)[0]
    # The signs of what a single place is rotated to: nothing of these magnitudes adds up to more in that place.
    for levels in (np.full(BLOCK, top), top * np.where(walsh(flips[1] * walsh(one_place)) > 0, 1, -1)):
        blocks = levels[None].astype(np.float32)
        Rotation(9, 3, BLOCK).transpose(blocks, segment)
        exact = flips[0] * walsh(flips[1] * walsh(levels.astype(np.float64)))
        assert np.abs(exact).max() < 2**24
        assert np.array_equal(blocks[0], exact)
    assert np.abs(exact).max() > 0.7 * top * 2**18


@pytest.mark.parametrize(("bit_width", "size"), [(1, 70), (2, 129), (3, 33), (4, 128)])
def test_decoding_follows_the_written_format(bit_width: int, size: int) -> None:
    """In whole numbers of any length, from docs/wire-format.md."""
    codec = codec_from_config([{"id": "rotate", "bit_width": bit_width}])
    payload = suite.encode(codec, {"x": RNG.standard_normal(size).astype(np.float32)})
    block = max(1 << (size - 1).bit_length(), 128)
    plane_bytes = -(-bit_width * block // 8)
    body = payload[:-4]
    bits = np.unpackbits(np.frombuffer(body[-plane_bytes:], dtype=np.uint8), bitorder="little")[: bit_width * block]
    seed = int.from_bytes(body[-plane_bytes - 8 : -plane_bytes], "little")
    scale = np.frombuffer(body[-plane_bytes - 12 : -plane_bytes - 8], dtype="<f4")[0]
    planes = bits.reshape(bit_width, block).tolist()
    num_words = -(-block // 32)
    words = philox_words(seed, 3, 2 * num_words)

    def sign(part: int, place: int) -> int:
        return -1 if words[part * num_words + place // 32] >> (place % 32) & 1 else 1

    def transformed(numbers: list[int]) -> list[int]:
        return [sum(n * (-1) ** (i & j).bit_count() for j, n in enumerate(numbers)) for i in range(block)]

    numbers = []
    for place in range(block):
        index = sum(planes[bit][place] << bit for bit in range(bit_width - 1))
        numbers.append(_CENTROIDS[bit_width][index] * (-1 if planes[-1][place] else 1))
    numbers = [sign(1, place) * number for place, number in enumerate(transformed(numbers))]
    numbers = [sign(0, place) * number for place, number in enumerate(transformed(numbers))]
    expected = np.array(numbers[:size], dtype=np.float32) * scale
    assert codec.decode(payload)["x"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("bit_width", NMSE)
def test_sizes_and_extreme_magnitudes(bit_width: int) -> None:
    values = RNG.standard_normal(BLOCK)
    codec = codec_from_config([{"id": "rotate", "bit_width": bit_width}])
    assert len(suite.encode(codec, {"x": values})) < 64 + bit_width * BLOCK / 8
    for magnitude in (2.0**-90, 2.0**97):
        scaled = np.full(BLOCK, magnitude) * np.sign(values)
        error = np.square(decoded(scaled, bit_width) / magnitude - np.sign(values)).mean()
        assert error == pytest.approx(NMSE[bit_width], rel=0.1)
    assert not decoded(values * 0, bit_width).any()
