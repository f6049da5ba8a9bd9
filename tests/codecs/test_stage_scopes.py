"""Quantizers with a scale a tensor, channel or block, and those without one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts import codec_suite as suite
from fedcomp.arrays import ArraysError
from fedcomp.codecs import codec_from_config
from fedcomp.codecs.quantize import round_levels
from fedcomp.codecs.scopes import Scope, read_scales, write_scales
from fedcomp.codecs.stages.nf4 import BOOK

VALUES = np.random.default_rng(2).standard_normal((40, 500)).astype(np.float32)
MIXED = (VALUES * np.logspace(-3, 3, 40)[:, None]).astype(np.float32)


def decoded(stage: dict, values: np.ndarray = VALUES, seed: int = 3) -> np.ndarray:
    codec = codec_from_config([stage])
    return codec.decode(suite.encode(codec, {"x": values}, seed))["x"]


def size_of(stage: dict, values: np.ndarray) -> int:
    return len(suite.encode(codec_from_config([stage]), {"x": values}))


shapes = st.lists(st.lists(st.integers(0, 5), max_size=4).map(tuple), max_size=6).map(tuple)


@settings(max_examples=40, deadline=None)
@given(shapes=shapes, kind=st.sampled_from(["tensor", "channel", "block"]), block_size=st.integers(8, 40))
def test_groups_cover_all_values_and_there_is_a_scale_for_each(shapes: tuple, kind: str, block_size: int) -> None:
    scope = Scope(kind, block_size)
    sizes = scope.sizes(shapes)
    assert len(sizes) == scope.scales(shapes).length
    assert sizes.sum() == sum(int(np.prod(shape)) for shape in shapes)
    assert (sizes > 0).all()
    if kind == "block":
        assert (sizes[:-1] == block_size).all()


def test_which_values_share_a_scale() -> None:
    shapes = ((3, 4, 5), (7,), (), (0, 3), (2, 6))
    assert Scope("tensor", 8).sizes(shapes).tolist() == [60, 7, 1, 12]
    assert Scope("channel", 8).sizes(shapes).tolist() == [20, 20, 20, 7, 1, 6, 6]
    assert Scope("block", 30).sizes(shapes).tolist() == [30, 30, 20]


@settings(max_examples=60, deadline=None)
@given(scale=st.floats(2.0**-126, 2.0**100))
def test_scales_are_rounded_up_by_no_more_than_they_say(scale: float) -> None:
    value = np.array([scale], dtype=np.float32)
    up, nearest = (read_scales(write_scales(value, up=up))[0] for up in (True, False))
    assert value[0] <= up <= float(value[0]) * (1 + 2.0**-7)
    assert abs(float(nearest) - float(value[0])) <= float(value[0]) * 2.0**-8


def test_scales_that_are_no_normal_numbers_are_zero() -> None:
    assert write_scales(np.array([0, 1e-45, 1e-38], dtype=np.float32), up=True).tolist() == [0, 0, 0]


@pytest.mark.parametrize("bit_width", range(2, 9))
def test_no_more_levels_than_bits(bit_width: int) -> None:
    for nearest in (True, False):
        stage = {"id": "block-uniform", "bit_width": bit_width, "scope": "tensor", "stochastic_rounding": not nearest}
        found = decoded(stage)
        assert len(np.unique(found)) <= 2**bit_width - 1
        assert np.abs(found).max() >= np.abs(VALUES).max() * (1 - 2.0**-7)


def relative_errors(stage: dict) -> np.ndarray:
    """Squared error over energy of every row of very different scale."""
    error = np.square(decoded(stage, MIXED).astype(np.float64) - MIXED).sum(axis=1)
    return error / np.square(MIXED, dtype=np.float64).sum(axis=1)


def test_a_scale_a_channel_or_block_serves_every_scale() -> None:
    stage = {"id": "block-uniform", "bit_width": 4, "stochastic_rounding": False}
    by_tensor = relative_errors(stage | {"scope": "tensor"})
    for scope in ("channel", "block"):
        own = relative_errors(stage | {"scope": scope, "block_size": 100})
        assert own.max() < 0.05
    assert by_tensor[0] == 1.0
    assert relative_errors({"id": "nf4"}).max() < 0.02
    assert relative_errors({"id": "sign", "scope": "channel"}).max() < 0.5


def test_what_they_cost() -> None:
    plain = size_of({"id": "random-mask", "density": 1.0, "rescale": False}, VALUES) - 4 * VALUES.size - 8
    scales = 2 * -(-VALUES.size // 64)
    assert size_of({"id": "nf4"}, VALUES) == plain + VALUES.size // 2 + scales
    assert size_of({"id": "block-uniform", "bit_width": 4}, VALUES) == plain + VALUES.size + scales
    assert size_of({"id": "sign"}, VALUES) == plain + VALUES.size // 8 + 2
    assert size_of({"id": "sign", "scope": "channel"}, VALUES) == plain + VALUES.size // 8 + 2 * 40


def test_nf4_finds_the_nearest_entry_of_its_book() -> None:
    values = np.linspace(-1, 1, 4001, dtype=np.float32)  # an odd number: half of the last byte is not used
    found = decoded({"id": "nf4", "block_size": 8192}, values)
    nearest = BOOK[np.abs(values[:, None].astype(np.float64) - BOOK).argmin(axis=1)]
    assert np.array_equal(found, nearest)
    assert np.all(np.diff(BOOK) > 0)
    assert (BOOK[0], BOOK[7], BOOK[15], len(BOOK)) == (-1, 0, 1, 16)


def test_signs_have_the_mean_magnitude() -> None:
    found = decoded({"id": "sign", "scope": "channel"})
    assert np.array_equal(found < 0, VALUES < 0)
    np.testing.assert_allclose(np.abs(found), np.abs(VALUES).mean(axis=1, keepdims=True) + 0 * VALUES, rtol=2.0**-8)


def test_sparse_ternary_compression_has_the_mean_of_what_is_kept() -> None:
    codec = codec_from_config([{"id": "topk", "density": 0.01}, {"id": "sign"}, {"id": "rans"}])
    payload = suite.encode(codec, {"x": VALUES})
    found = codec.decode(payload)["x"]
    kept = found != 0
    assert kept.sum() == 200
    scale = np.abs(VALUES[kept]).mean()
    np.testing.assert_allclose(np.abs(found[kept]), scale, rtol=2.0**-8)
    assert not np.isclose(np.abs(VALUES).mean(), scale, rtol=0.5)  # the mean over all values would be far too small
    assert len(payload) * 8 / VALUES.size < 0.15


@pytest.mark.parametrize("stochastic", [True, False])
def test_ternary_has_three_levels(stochastic: bool) -> None:
    found = decoded({"id": "ternary", "stochastic_rounding": stochastic})
    scale = np.unique(np.abs(found))[-1]
    assert set(np.unique(found)) == {-scale, 0, scale}
    assert np.array_equal(np.sign(found)[found != 0], np.sign(VALUES)[found != 0])
    if stochastic:
        assert scale >= np.abs(VALUES).max()
    else:
        kept = np.abs(VALUES) > 0.7 * np.abs(VALUES).mean()
        assert np.array_equal(found != 0, kept)
        np.testing.assert_allclose(scale, np.abs(VALUES[kept]).mean(), rtol=2.0**-8)


def test_stochastic_rounding_is_unbiased_at_large_levels() -> None:
    """With levels of 22 bits, floor(value + random) would round the sum; 1 - share here is 0.75, six errors 0.003."""
    values, rng = np.full(10**6, 2.0**21 + 0.75, dtype=np.float32), np.random.default_rng(0)
    mean = (round_levels(values, rng).astype(np.float64) - 2.0**21).mean()
    assert abs(mean - 0.75) < 0.003
    wrong = np.floor(values + rng.random(values.size, dtype=np.float32)).astype(np.float64) - 2.0**21
    assert abs(wrong.mean() - 0.75) > 0.01


@pytest.mark.parametrize(("bit_width", "bytes_each"), [(8, 1), (9, 2), (16, 2), (17, 4), (24, 4)])
def test_fixed_point_takes_the_smallest_integer_that_holds_it(bit_width: int, bytes_each: int) -> None:
    stage = {"id": "fixed-point", "bit_width": bit_width, "fraction_bits": bit_width - 4}
    plain = size_of({"id": "float16"}, VALUES) - 2 * VALUES.size
    assert size_of(stage, VALUES) == plain + bytes_each * VALUES.size
    error = decoded(stage) - VALUES
    assert np.abs(error).max() < 2.0 ** -(bit_width - 4)


def test_fixed_point_reaches_its_ends_and_refuses_what_is_behind_them() -> None:
    codec = codec_from_config([{"id": "fixed-point", "bit_width": 8, "fraction_bits": 4}])
    ends = np.array([-127 / 16, 127 / 16, 0, 1 / 16], dtype=np.float32)
    assert np.array_equal(codec.decode(suite.encode(codec, {"x": ends}))["x"], ends)
    with pytest.raises(ArraysError, match=r"fixed-point: expected magnitudes up to 7\.9375, got 8"):
        suite.encode(codec, {"x": np.array([-8.0], dtype=np.float32)})


def test_fixed_point_sends_nothing_but_levels() -> None:
    """The grid is the same for every payload, so payloads of one config can be compared bit by bit."""
    stage = {"id": "fixed-point", "bit_width": 16, "fraction_bits": 10, "stochastic_rounding": False}
    codec = codec_from_config([stage])
    left, right = (suite.encode(codec, {"x": factor * VALUES})[:-4] for factor in (1, 2))
    levels = [np.frombuffer(payload[-2 * VALUES.size :], dtype="<i2") for payload in (left, right)]
    assert left[: -2 * VALUES.size] == right[: -2 * VALUES.size]
    assert np.abs(levels[0] * 2 - levels[1].astype(int)).max() <= 1
