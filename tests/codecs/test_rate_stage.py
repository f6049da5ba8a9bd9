"""The stage rate: goals met from below, and near the bound on sources whose bound is known."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedcomp.arrays import digest
from fedcomp.codecs import Codec, codec_from_config
from fedcomp.codecs.chain import Chain
from fedcomp.codecs.context import NOTHING, Side
from fedcomp.codecs.rate.layout import class_order, gather, scatter
from fedcomp.codecs.rate.levels import Rounding, magnitudes_of, numbers_of, signed_levels
from fedcomp.codecs.stage import Packet
from fedcomp.codecs.stages.rate import Rate
from fedcomp.errors import ConfigError

RNG = np.random.default_rng(1)


def rate(**options: object) -> Codec:
    return codec_from_config([{"id": "rate", **options}])


def coded_size(stage: Rate, values: np.ndarray, side: Side = NOTHING, seed: int = 0) -> int:
    return stage.forward(Packet(values, side=side), np.random.default_rng(seed)).values.size


def decoded(codec: Codec, values: np.ndarray, seed: int = 0) -> np.ndarray:
    return codec.decode(codec.encode({"x": values}, np.random.default_rng(seed)))["x"]


def nmse(values: np.ndarray, found: np.ndarray) -> float:
    wide = values.astype(np.float64)
    return float(np.sum((wide - found) ** 2) / np.sum(wide**2))


def mixed(size: int, layers: int = 64, decades: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian layers of every scale in no order, and the variance of each."""
    scales = np.random.default_rng(9).permutation(10.0 ** np.linspace(0, -decades, layers))
    values = RNG.standard_normal(size) * np.repeat(scales, -(-size // layers))[:size]
    return values.astype(np.float32), scales**2


def water_filling(variances: np.ndarray, bits: float) -> float:
    """The least relative squared error of Gaussian layers at so many bits a value."""
    low, high = 1e-12, float(variances.max())
    for _ in range(100):
        level = np.sqrt(low * high)
        if np.mean(np.maximum(np.log2(variances / level), 0)) / 2 > bits:
            low = level
        else:
            high = level
    return float(np.minimum(variances, high).mean() / variances.mean())


def gap(found: float, bound: float) -> float:
    return 10 * float(np.log10(found / bound))


@pytest.mark.parametrize(
    ("bits", "allowed"), [(0.1, 0.22), (0.5, 0.97), (1.0, 1.53), (2.0, 1.6), (4.0, 1.59), (8.0, 1.6)]
)
def test_gaussian_values_are_near_the_bound(bits: float, allowed: float) -> None:
    """Half a percent of entropy-coded scalar quantization is 0.03 dB; the sample moves the error by 0.02 dB."""
    values, stage = RNG.standard_normal(2**18).astype(np.float32), Rate(bits=bits)
    size = coded_size(stage, values)
    assert 0.985 * bits * values.size / 8 <= size <= bits * values.size / 8
    found = nmse(values, decoded(Chain((stage,)), values))
    assert gap(found, 2.0 ** (-16 * size / values.size)) <= allowed


@pytest.mark.parametrize(("bits", "allowed"), [(0.1, 0.85), (1.0, 1.4), (4.0, 1.7)])
def test_mixed_scales_are_near_reverse_water_filling(bits: float, allowed: float) -> None:
    values, variances = mixed(2**18)
    stage = Rate(bits=bits)
    size = coded_size(stage, values)
    bound = water_filling(variances, 8 * size / values.size)
    assert gap(nmse(values, decoded(Chain((stage,)), values)), bound) <= allowed
    shuffled = RNG.permutation(values)
    assert gap(nmse(shuffled, decoded(Chain((stage,)), shuffled)), bound) > allowed + 0.5


@pytest.mark.parametrize(("size", "bits", "allowed"), [(40_000, 0.1, 1.1), (40_000, 0.3, 1.6), (100_000, 0.1, 0.95)])
def test_small_models_pay_little_for_tables(size: int, bits: float, allowed: float) -> None:
    values, variances = mixed(size)
    stage = Rate(bits=bits)
    used = coded_size(stage, values)
    assert 0.97 * bits * size / 8 <= used <= bits * size / 8
    bound = water_filling(variances, 8 * used / size)
    assert gap(nmse(values, decoded(Chain((stage,)), values)), bound) <= allowed


def test_the_trellis_is_better_at_equal_bytes() -> None:
    values = RNG.standard_normal(2**16).astype(np.float32)
    fast, best = (nmse(values, decoded(rate(bits=2.0, mode=mode), values)) for mode in ("fast", "max"))
    assert gap(best, fast) < -0.6
    low = [nmse(values, decoded(rate(bits=0.05, mode=mode), values)) for mode in ("fast", "max")]
    assert low[1] <= low[0] * 1.01


SHAPES = {
    "gaussian": RNG.standard_normal(3000),
    "spike": np.r_[np.zeros(1999), 1e4],
    "constant": np.full(4000, -2.5),
    "heavy tails": RNG.standard_cauchy(5000),
    "one": np.array([3.5]),
    "two": np.array([1.0, -1e-3]),
    "tiny": RNG.standard_normal(500) * 1e-20,
    "huge": RNG.standard_normal(500) * 1e29,
    "zeros": np.zeros(300),
    "none": np.zeros(0),
    "subnormal": np.full(100, 1e-42),
}


@pytest.mark.parametrize("mode", ["fast", "max"])
@pytest.mark.parametrize("name", SHAPES)
def test_bytes_are_a_ceiling_for_values_of_any_shape(name: str, mode: str) -> None:
    arrays = {"x": SHAPES[name].astype(np.float32), "y": np.arange(5), "z": np.zeros(3)}
    for most in (1, 80, 120, 1000) if mode == "fast" else (150,):
        codec = rate(bytes=most, mode=mode)
        payload = codec.encode(arrays, np.random.default_rng(0))
        zeros = rate(bytes=1).encode(arrays, np.random.default_rng(0))
        assert len(payload) <= max(most, len(zeros))
        assert np.isfinite(codec.decode(payload)["x"]).all()
    for bits in (0.1, 2.0):
        stage = Rate(bits=bits, mode=mode)
        assert coded_size(stage, arrays["x"]) <= bits * arrays["x"].size / 8


@pytest.mark.parametrize("options", [{}, {"dither": True}, {"mode": "max"}], ids=["plain", "dither", "max"])
@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"none", "zeros", "subnormal"}))
def test_the_error_is_a_ceiling_for_values_of_any_shape(name: str, options: dict) -> None:
    values = SHAPES[name].astype(np.float32)
    for asked in (0.3, 1e-4):
        assert nmse(values, decoded(rate(nmse=asked, **options), values)) <= asked * (1 + 1e-5)


def test_an_error_that_is_asked_for_is_used_up() -> None:
    values, _ = mixed(30_000)
    for asked in (0.5, 0.1, 1e-3, 1e-6):
        for options in ({}, {"dither": True}):
            assert 0.97 * asked <= nmse(values, decoded(rate(nmse=asked, **options), values)) <= asked


def test_the_ceiling_of_the_link_and_the_rest_of_the_payload_are_respected() -> None:
    values = RNG.standard_normal(5000).astype(np.float32)
    free = coded_size(Rate(bits=4.0), values)
    assert coded_size(Rate(bits=4.0), values, Side(max_bytes=900, overhead=100)) <= 800 < free
    assert coded_size(Rate(nmse=1e-4), values, Side(max_bytes=900, overhead=100)) <= 800
    assert coded_size(Rate(bytes=900), values, Side(overhead=100)) <= 800
    assert coded_size(Rate(bytes=900), values, Side(overhead=900)) == 0
    assert coded_size(Rate(bits=0.5), values, Side(max_bytes=10**6)) == coded_size(Rate(bits=0.5), values)


def test_the_whole_payload_counts_for_bytes() -> None:
    arrays = {f"layer{index}": RNG.standard_normal(700).astype(np.float32) for index in range(9)} | {"n": np.arange(50)}
    for most in (1200, 2500):
        assert 0.97 * most <= len(rate(bytes=most).encode(arrays, np.random.default_rng(0))) <= most


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of bits, bytes and nmse, got none"),
        ({"bits": 1.0, "nmse": 0.1}, "exactly one of bits, bytes and nmse, got bits and nmse"),
        ({"bits": 0}, r"bits: expected a number in \(0, 16\], or left out, got 0"),
        ({"bytes": 2.5}, "bytes: expected an integer in"),
        ({"nmse": 2}, "nmse: expected a number in"),
        ({"bits": 1, "mode": "best"}, "mode: expected one of fast, max, got 'best'"),
        ({"bits": 1, "mode": "max", "dither": True}, "dither: expected false with mode 'max'"),
    ],
)
def test_options_that_do_not_fit(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rate(**options)


def test_nothing_follows_it() -> None:
    with pytest.raises(ConfigError, match="rans"):
        codec_from_config([{"id": "rate", "bits": 1.0}, {"id": "rans"}])
    with pytest.raises(ConfigError, match="expected float32 values"):
        codec_from_config([{"id": "float16"}, {"id": "rate", "bits": 1.0}])


def test_dither_is_unbiased_where_the_dead_zone_is_not() -> None:
    values = np.full(2000, 0.3, dtype=np.float32)
    values[::40] = 2.0
    means = {}
    for dithered in (True, False):
        codec = rate(nmse=0.5, dither=dithered)
        found = [decoded(codec, values, seed).reshape(-1, 40)[:, 1:] for seed in range(12 if dithered else 1)]
        means[dithered] = float(np.mean(found))
    # 23,400 errors of standard deviation 0.31: a false alarm at 5 deviations is one in 1e6.
    assert abs(means[True] - 0.3) < 0.01
    assert abs(means[False] - 0.3) > 0.1


def test_the_bound_is_true_and_not_far_off() -> None:
    values, _ = mixed(6000)
    for options in ({"bits": 0.3}, {"nmse": 0.01}, {"bits": 4.0, "mode": "max"}):
        codec = rate(**options)
        bound = codec.max_error({"x": values})
        error = float(np.abs(decoded(codec, values).astype(np.float64) - values).max())
        assert bound is not None
        assert error <= bound <= 1.01 * error + 1e-5
    for options in ({"bytes": 3000}, {"bits": 4.0, "dither": True}):
        assert rate(**options).max_error({"x": values}) is None


@pytest.mark.parametrize("options", [{}, {"dither": True}], ids=["plain", "dither"])
@pytest.mark.parametrize("bits", [0.1, 4.0])
def test_encoding_takes_at_most_three_times_the_input(bits: float, options: dict) -> None:
    values, _ = mixed(2**20)
    codec, before = rate(bits=bits, **options), digest({"x": values})
    tracemalloc.start()
    try:
        payload = codec.encode({"x": values}, np.random.default_rng(0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 3 * values.nbytes
    assert 0.98 * bits * values.size / 8 <= len(payload) <= bits * values.size / 8 + 64
    assert digest({"x": values}) == before


@settings(max_examples=30, deadline=None)
@given(
    values=hnp.arrays(np.float32, st.integers(0, 90), elements=st.floats(-(2.0**30), 2.0**30, width=32)),
    options=st.sampled_from([{"bits": 0.7}, {"bits": 12.0}, {"nmse": 1e-3}, {"bits": 9.0, "dither": True}]),
)
def test_any_values_come_back_within_the_goal(values: np.ndarray, options: dict) -> None:
    found = decoded(rate(**options), values)
    assert np.isfinite(found).all()
    if "nmse" in options and np.abs(values).max(initial=0) > 1e-25:
        assert nmse(values, found) <= options["nmse"] * (1 + 1e-5)


def test_levels_and_their_borders() -> None:
    scaled = np.array([0.0, 0.5, 0.59, 0.6, 0.64, 0.66, 1.64, 1.66, 7.0], dtype=np.float32)
    assert magnitudes_of(scaled, Rounding(0.6, 0.65)).tolist() == [0, 0, 0, 1, 1, 1, 1, 2, 7]
    assert magnitudes_of(scaled, Rounding(0.65, 0.6)).tolist() == [0, 0, 0, 0, 0, 1, 2, 2, 7]
    values = np.array([0.0, -0.0, -0.1, 0.9, -0.9, 2.2, -3.1], dtype=np.float32)
    numbers = numbers_of(values, np.float32(1), Rounding(0.5, 0.5))
    assert numbers.tolist() == [0, 0, 0, 2, 1, 4, 5]
    assert signed_levels(numbers.astype(np.uint8)).tolist() == [0, 0, 0, 1, -1, 2, -3]


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 700), block=st.sampled_from([32, 64, 256]), seed=st.integers(0, 99), group=st.integers(1, 5))
def test_classes_partition_the_values(size: int, block: int, seed: int, group: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 3, -(-size // block)).astype(np.uint8)
    order = class_order(classes, 3, size, block)
    values, again = rng.standard_normal(size).astype(np.float32), np.zeros(size, dtype=np.float32)
    for index in range(3):
        at = 0
        for blocks, span in order.chunks(index, group):
            found = gather(values, blocks, block)
            assert (span.start, span.stop - span.start, span.start % group) == (at, len(found), 0)
            scatter(found, again, blocks, block)
            at = span.stop
        assert at == order.length(index) == int((np.repeat(classes, block)[:size] == index).sum())
    assert np.array_equal(values, again)
