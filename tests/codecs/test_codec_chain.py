"""Chains: what they refuse, what they cost, and where data may not leak into their form."""

import numpy as np
import pytest

from contracts import codec_suite as suite
from fedcomp.arrays import ArraysError
from fedcomp.codecs import PayloadError, codec_from_config
from fedcomp.codecs.chain import Chain
from fedcomp.codecs.stages.dither import Dither
from fedcomp.codecs.stages.topk import TopK


def test_fp32_costs_four_bytes_a_value_and_a_small_header() -> None:
    codec = codec_from_config([])
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    assert len(suite.encode(codec, {"x": values})) == 4 * 1000 + 34


def test_a_lossless_chain_carries_every_bit_pattern() -> None:
    patterns = np.arange(2**16, dtype=np.uint16).view(np.float16)
    arrays = {"half": patterns, "nan": np.array([np.nan, -np.inf, -0.0]), "big": np.array([1e300])}
    decoded = codec_from_config([]).decode(suite.encode(codec_from_config([]), arrays))
    assert all(decoded[name].tobytes() == array.tobytes() for name, array in arrays.items())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**101, -(2.0**101), 1e300])
@pytest.mark.parametrize("chain", ["topk", "dither-rans", "float16", "rans", "uniform", "step"])
def test_a_lossy_chain_refuses_what_it_cannot_hold_by_name(chain: str, value: float) -> None:
    arrays = {"fine": np.ones(3, dtype=np.float32), "broken": np.array([1.0, value])}
    with pytest.raises(ArraysError, match="'broken'"):
        suite.encode(codec_from_config(suite.CHAINS[chain]), arrays)


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": np.array(["a"])}, "native bool, int or float"),
        ({"x": np.array([1j])}, "native bool, int or float"),
        ({"x": np.array([None])}, "native bool, int or float"),
        ({"x": np.zeros(3, dtype=np.dtype(np.float32).newbyteorder())}, "native bool, int or float"),
        ({"x" * 1025: np.zeros(1)}, "at most 1024 bytes"),
        ({"\ud800": np.zeros(1)}, "valid unicode"),
        ({"x": np.zeros((1,) * 33)}, "at most 32 dimensions"),
        ({"x": np.broadcast_to(np.float32(0), (2**15, 2**14))}, "at most 268435456 values"),
    ],
    ids=["text", "complex", "object", "byte order", "name", "surrogate", "dimensions", "size"],
)
def test_arrays_that_no_payload_holds(arrays: dict[str, np.ndarray], problem: str) -> None:
    for chain in ("empty", "dither"):
        with pytest.raises(ArraysError, match=problem):
            suite.encode(codec_from_config(suite.CHAINS[chain]), arrays)


def test_decode_takes_any_bytes_like_object() -> None:
    codec = codec_from_config(suite.CHAINS["topk-uniform-rans"])
    payload = suite.encode(codec, suite.example_arrays())
    expected = codec.decode(payload)
    for same in (bytearray(payload), memoryview(payload)):
        assert all(np.array_equal(expected[name], array) for name, array in codec.decode(same).items())


def test_a_float16_array_saturates() -> None:
    values = np.array([65504.0, -65504.0], dtype=np.float16)
    decoded = codec_from_config([{"id": "dither", "step_rms": 1.0}])
    assert np.isfinite(decoded.decode(suite.encode(decoded, {"x": values}))["x"]).all()


def test_decoded_arrays_do_not_share_memory() -> None:
    codec = codec_from_config(suite.CHAINS["dither"])
    decoded = codec.decode(suite.encode(codec, {"a": np.ones(5, np.float32), "b": np.ones(5, np.float32)}))
    assert not np.shares_memory(decoded["a"], decoded["b"])


def test_a_chain_is_equal_to_its_like_alone() -> None:
    assert Chain((TopK(0.5),)) == Chain((TopK(0.5),)) != Chain((TopK(0.25),))
    with pytest.raises(ValueError, match=r"density: expected a number in \(0, 1\], got 1.5"):
        TopK(1.5)


def test_the_length_without_rans_depends_on_the_shape_alone() -> None:
    rng = np.random.default_rng(0)
    for name in ("random-mask", "random-mask-plain", "float16", "uniform", "dither", "topk"):
        codec = codec_from_config(suite.CHAINS[name])
        sizes = {len(suite.encode(codec, {"x": rng.standard_t(2, 200).astype(np.float32)})) for _ in range(5)}
        assert len(sizes) == 1


def test_max_error_covers_what_a_dtype_rounds_off() -> None:
    codec = codec_from_config([{"id": "rans"}])
    bound = codec.max_error({"x": np.array([1.0, 0.1])})
    assert bound is not None
    assert 2.0**-25 < bound < 1e-6


def test_the_mean_of_dithered_clients_is_better_than_one() -> None:
    """What dither is for: errors of different clients are independent, so that they average out."""
    values = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    codec = Chain((Dither(2.0),))
    decoded = [codec.decode(suite.encode(codec, {"x": values}, seed))["x"] - values for seed in range(16)]
    one, mean = np.square(decoded[0]).mean(), np.square(np.mean(decoded, axis=0)).mean()
    assert 12 < one / mean < 20


def test_a_section_more_or_less_is_refused() -> None:
    codec = codec_from_config(suite.CHAINS["topk"])
    with pytest.raises(PayloadError):
        codec.decode(b"")
