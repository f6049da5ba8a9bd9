"""Low rank: exact where the rank is there, better from payload to payload, and equal on every platform."""

import struct

import numpy as np
import pytest

from contracts import codec_suite as suite
from fedcomp.arrays import Arrays
from fedcomp.codecs import CodecContext, codec_from_config

RNG = np.random.default_rng(6)


def matrix(height: int, width: int, singular: np.ndarray) -> np.ndarray:
    left, _ = np.linalg.qr(RNG.standard_normal((height, len(singular))))
    right, _ = np.linalg.qr(RNG.standard_normal((width, len(singular))))
    return (left * singular @ right.T).astype(np.float32)


def errors(arrays: Arrays, rank: int, rounds: int) -> list[float]:
    """Relative errors of payloads of equal arrays, each with the memory of the one before."""
    codec, memory, found = codec_from_config([{"id": "low-rank", "rank": rank}]), {}, []
    for seed in range(rounds):
        payload, memory = codec.advance(arrays, np.random.default_rng(seed), CodecContext(memory=memory))
        decoded = codec.decode(payload)
        lost = sum(np.square(decoded[name] - array, dtype=np.float64).sum() for name, array in arrays.items())
        found.append(float(lost / sum(np.square(array, dtype=np.float64).sum() for array in arrays.values())))
    return found


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("magnitude", [1e-20, 1.0, 1e20])
def test_what_has_the_rank_comes_back(rank: int, magnitude: float) -> None:
    arrays = {"w": (magnitude * matrix(40, 30, np.arange(rank, 0, -1.0))).astype(np.float32)}
    assert errors(arrays, rank, 1)[0] < 1e-11


def test_the_memory_brings_it_to_the_best_factors() -> None:
    singular = 0.9 ** np.arange(30)
    found = errors({"w": matrix(60, 50, singular)}, 3, 12)
    best = np.square(singular[3:]).sum() / np.square(singular).sum()
    assert found[0] > 1.08 * best
    assert found[-1] < 1.02 * best
    assert found[-1] >= best * (1 - 1e-4)


def test_without_memory_it_stays_where_it_was() -> None:
    """The negative control of the one above: the same payloads, each from a cold start."""
    singular = 0.9 ** np.arange(30)
    codec = codec_from_config([{"id": "low-rank", "rank": 3}])
    arrays = {"w": matrix(60, 50, singular)}
    best = np.square(singular[3:]).sum() / np.square(singular).sum()
    for seed in range(12):
        decoded = codec.decode(codec.encode(arrays, np.random.default_rng(seed)))["w"]
        assert np.square(decoded - arrays["w"]).sum() / np.square(arrays["w"]).sum() > 1.02 * best


def test_rows_that_were_zero_do_not_stay_zero() -> None:
    codec, arrays = codec_from_config([{"id": "low-rank", "rank": 2}]), {"w": matrix(20, 15, np.array([2.0, 1.0]))}
    nothing = {"w": np.zeros((20, 15), dtype=np.float32)}
    payload, memory = codec.advance(nothing, np.random.default_rng(0))
    assert not codec.decode(payload)["w"].any()
    decoded = codec.decode(codec.advance(arrays, np.random.default_rng(1), CodecContext(memory=memory))[0])["w"]
    np.testing.assert_allclose(decoded, arrays["w"], atol=1e-5)


@pytest.mark.parametrize("rows", [np.ones(3), np.full(30, np.nan), np.full(30, np.inf)], ids=["size", "nan", "inf"])
def test_memory_that_is_not_its_own_is_not_used(rows: np.ndarray) -> None:
    codec, arrays = codec_from_config([{"id": "low-rank", "rank": 2}]), {"w": matrix(20, 15, np.array([2.0, 1.0]))}
    context = CodecContext(memory={"0.low-rank.rows": rows.astype(np.float32)})
    cold = codec.encode(arrays, np.random.default_rng(0))
    assert codec.encode(arrays, np.random.default_rng(0), context) == cold


def test_what_would_not_get_smaller_is_passed_on() -> None:
    arrays = {
        "wide": RNG.standard_normal((3, 4)).astype(np.float32),
        "kernel": RNG.standard_normal((16, 4, 3, 3)).astype(np.float32),
        "bias": RNG.standard_normal(50).astype(np.float32),
    }
    codec = codec_from_config([{"id": "low-rank", "rank": 2}])
    payload = suite.encode(codec, arrays)
    decoded = codec.decode(payload)
    assert np.array_equal(decoded["wide"], arrays["wide"])
    assert np.array_equal(decoded["bias"], arrays["bias"])
    assert not np.array_equal(decoded["kernel"], arrays["kernel"])
    assert np.linalg.matrix_rank(decoded["kernel"].reshape(16, 36), tol=1e-4) == 2
    plain = len(suite.encode(codec_from_config([{"id": "random-mask", "density": 1.0}]), arrays)) - 5 - 8
    assert len(payload) == plain - 4 * 16 * 36 + 4 * 2 * (16 + 36)


def test_decoding_follows_the_written_format() -> None:
    """One rounding an operation, in order: products, then sums."""
    arrays = {"w": RNG.standard_normal((9, 7)).astype(np.float32)}
    codec = codec_from_config([{"id": "low-rank", "rank": 3}])
    payload = suite.encode(codec, arrays)
    numbers = [np.float32(number) for number in struct.unpack("<48f", payload[-4 - 4 * 48 : -4])]
    columns, rows = np.reshape(numbers[:27], (3, 9)), np.reshape(numbers[27:], (3, 7))
    expected = [
        [columns[0][i] * rows[0][j] + columns[1][i] * rows[1][j] + columns[2][i] * rows[2][j] for j in range(7)]
        for i in range(9)
    ]
    assert codec.decode(payload)["w"].tobytes() == np.array(expected, dtype=np.float32).tobytes()


def test_feedback_before_it_sends_all_in_the_end() -> None:
    """The best two of 20 equal singular values are a tenth of an update; with feedback everything has its turn."""
    arrays = {"w": matrix(25, 20, np.ones(20))}
    received = {}
    for config in ([], [{"id": "feedback", "decay": 1.0}]):
        codec, memory, total = codec_from_config([*config, {"id": "low-rank", "rank": 2}]), {}, 0
        for seed in range(120):
            payload, memory = codec.advance(arrays, np.random.default_rng(seed), CodecContext(memory=memory))
            total = total + codec.decode(payload)["w"]
        received[len(config)] = np.square(total / 120 - arrays["w"]).sum() / np.square(arrays["w"]).sum()
    assert received[1] < 0.1
    assert received[0] > 0.5
