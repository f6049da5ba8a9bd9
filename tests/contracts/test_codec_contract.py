"""Every codec keeps the contract."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contracts import codec_suite as suite
from fedcomp.codecs import Codec, codec_from_config


@pytest.fixture(params=list(suite.CHAINS), scope="module")
def codec(request: pytest.FixtureRequest) -> Codec:
    return suite.codec_of(request.param)


def floats(dtype: type) -> st.SearchStrategy:
    width = np.dtype(dtype).itemsize * 8
    top = {16: 60000.0, 32: 2.0**15, 64: 2.0**15}[width]
    return st.floats(-top, top, width=width, allow_subnormal=True)


def named_arrays() -> st.SearchStrategy:
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9)
    array = st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
        lambda dtype: hnp.arrays(dtype, shapes, elements=floats(dtype))
    )
    other = hnp.arrays(st.sampled_from([np.int8, np.uint64, np.bool_]), shapes)
    return st.dictionaries(st.text(max_size=8), array | other, max_size=4)


def test_round_trip(codec: Codec) -> None:
    suite.check_round_trip(codec, suite.example_arrays())


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 4097])
def test_round_trip_of_one_array(codec: Codec, size: int) -> None:
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    suite.check_round_trip(codec, {"x": values})


@pytest.mark.parametrize(
    "values",
    [np.zeros(500), np.full(500, -3.0), np.full(500, 1e-42), np.full(500, 60000.0), np.r_[np.zeros(499), 1e4]],
    ids=["zeros", "equal", "subnormal", "large", "one spike"],
)
def test_round_trip_of_degenerate_values(codec: Codec, values: np.ndarray) -> None:
    suite.check_round_trip(codec, {"x": values.astype(np.float32)})


def test_round_trip_of_nothing(codec: Codec) -> None:
    assert suite.decode(codec, suite.encode(codec, {}), {}) == {}


def test_round_trip_of_views(codec: Codec) -> None:
    values = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    suite.check_round_trip(codec, {"transposed": values.T, "strided": values[::2, ::-3]})


@settings(max_examples=8, deadline=None)
@given(arrays=named_arrays())
def test_round_trip_of_anything(codec: Codec, arrays: dict[str, np.ndarray]) -> None:
    suite.check_round_trip(codec, arrays)


def test_config(codec: Codec) -> None:
    suite.check_config(codec)


def test_same_seed_same_bytes(codec: Codec) -> None:
    suite.check_same_seed_same_bytes(codec, suite.example_arrays(400))


def test_every_damage_is_refused(codec: Codec) -> None:
    suite.check_every_damage_is_refused(codec, suite.example_arrays(80))


def test_foreign_codec_is_named(codec: Codec) -> None:
    other = codec_from_config([{"id": "topk", "density": 0.123}])
    suite.check_foreign_codec_is_named(codec, other, suite.example_arrays(80))


def test_bias_is_as_stated(codec: Codec) -> None:
    if codec.lossless or {"id": "rans"} in codec.config():
        pytest.skip("nothing is rounded, or only before a stage that rounds nothing")
    rates = [stage for stage in codec.config() if stage["id"] == "rate"]
    if rates and rates[0] not in (suite.CHAINS["rate"][0], suite.CHAINS["rate-dither"][0]) and len(codec.config()) == 1:
        pytest.skip("rounded as another chain of rate, at another step, and slow to search for that")
    values = np.random.default_rng(5).standard_normal((15, 10)).astype(np.float32)
    suite.check_bias_is_as_stated(codec, values, repeats=80 if rates or codec.config()[0]["id"] == "auto" else 240)


def test_values_over_the_limit_are_refused(codec: Codec) -> None:
    arrays = {"x": np.zeros(100, dtype=np.float32)}
    payload, reference = suite.encode(codec, arrays), suite.context_for(codec, arrays).reference
    assert codec.decode(payload, max_values=100, reference=reference)["x"].size == 100
    with pytest.raises(suite.PayloadError, match="at most 99 values"):
        codec.decode(payload, max_values=99, reference=reference)


def test_a_reference_that_is_needed_and_missing_or_another_one_is_refused(codec: Codec) -> None:
    if not codec.needs_reference:
        pytest.skip("decodes without a reference")
    arrays = suite.example_arrays()
    payload = suite.encode(codec, arrays)
    with pytest.raises(suite.ArraysError, match="reference: expected what both ends hold"):
        codec.encode(arrays, np.random.default_rng(0))
    with pytest.raises(suite.PayloadError, match="expected a reference"):
        codec.decode(payload)
    with pytest.raises(suite.PayloadError, match="made with reference"):
        codec.decode(payload, reference=arrays)
    with pytest.raises(suite.PayloadError, match="reference: expected an array"):
        codec.decode(payload, reference={})
