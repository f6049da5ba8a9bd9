"""Thinning: what it draws is unbiased, costs less error than a dither everywhere, and hostile kinds are refused."""

import numpy as np
import pytest

from fedcomp.codecs import PayloadError
from fedcomp.codecs.rate.control import Goal
from fedcomp.codecs.rate.design import Designer
from fedcomp.codecs.rate.fast import encode_fast
from fedcomp.codecs.rate.layout import class_order
from fedcomp.codecs.rate.reader import read_draft
from fedcomp.codecs.rate.sample import survey
from fedcomp.codecs.rate.thinning import ZEROS_ONLY, Kind, draw, num_coded, thinned_kinds, thinnings_of

RNG = np.random.default_rng(5)
MIXED = (RNG.standard_normal(16384) * np.repeat(10.0 ** RNG.uniform(-2.5, 0, 64), 256)).astype(np.float32)


def coded(values: np.ndarray, bits: float, seed: int) -> np.ndarray:
    payload = encode_fast(values, Goal(values.size * bits / 8, None), seed)
    assert 0 < len(payload) <= values.size * bits / 8
    return read_draft(memoryview(payload), values.size, dither=True)


def test_small_blocks_are_thinned_more_an_octave_at_a_time() -> None:
    means = np.array([2.0, 0.17, 0.16, 0.08, 0.04, 2.0**-15, 2.0**-60, 0.0], dtype=np.float32)
    with np.errstate(divide="ignore"):
        found = thinnings_of(np.log2(means * 3), 3.0)
    assert found.tolist() == [0, 0, 1, 2, 3, 13, 16, ZEROS_ONLY]


def test_kinds_of_small_values_come_first_and_share_a_table() -> None:
    thinnings = np.array([0, 2, 1, ZEROS_ONLY, 0, 2], dtype=np.uint8)
    found = thinned_kinds(np.array([3, 1, 1, 0, 4, 1], dtype=np.uint8), thinnings)
    assert found.kinds == (Kind(0, ZEROS_ONLY), Kind(0, 2), Kind(0, 1), Kind(1, 0), Kind(2, 0))
    assert found.of_block.tolist() == [3, 1, 2, 0, 4, 1]
    assert found.num_tables == 3


@pytest.mark.parametrize("thinning", [1, 3, 10])
def test_one_of_every_group_is_drawn_and_each_value_as_often(thinning: int) -> None:
    """3 blocks of 5, 360 values of 128 a block, the last of which is short."""
    order = class_order(np.array([1, 0, 1, 0, 1], dtype=np.uint8), 2, 617, 128)
    inside = np.r_[0:128, 256:384, 512:617]
    times = np.zeros(617)
    for seed in range(300):
        drawn = draw(order, 1, thinning, seed)
        places = drawn.places(slice(0, num_coded(361, thinning)))
        assert len(places) in (361 >> thinning, num_coded(361, thinning))
        groups = np.searchsorted(inside, places) >> thinning
        assert np.array_equal(groups, np.arange(len(places)))
        times[places] += 1
    assert not times[np.setdiff1d(np.arange(617), inside)].any()
    expected = 300 / 2**thinning
    assert np.abs(times[inside] - expected).max() < 5 * np.sqrt(expected) + 1


def test_little_is_sent_without_bias() -> None:
    found = np.mean([coded(MIXED, 0.2, seed) for seed in range(24)], axis=0, dtype=np.float64)
    scale = np.abs(MIXED).reshape(64, 256).mean(axis=1)
    share = (found * MIXED).reshape(64, 256).sum(axis=1) / np.square(MIXED, dtype=np.float64).reshape(64, 256).sum(
        axis=1
    )
    # Each layer comes back in expectation, down to those hundreds of times smaller than the step.
    assert np.abs(share[scale > 0.1] - 1).max() < 0.35
    assert abs(np.average(share, weights=scale) - 1) < 0.1


@pytest.mark.parametrize(("bits", "most"), [(0.1, 14.0), (0.2, 4.0), (0.5, 0.7)])
def test_it_beats_a_random_mask_before_a_dither(bits: float, most: float) -> None:
    norm = float(np.sum(np.square(MIXED, dtype=np.float64)))
    error = np.mean([np.sum(np.square(coded(MIXED, bits, seed) - MIXED, dtype=np.float64)) for seed in range(4)]) / norm
    kept = MIXED[RNG.random(MIXED.size) < bits]
    once = np.sum(np.square(coded(kept, 1.0, 0) - kept, dtype=np.float64)) / np.sum(np.square(kept, dtype=np.float64))
    assert error < most
    assert error < (1 + once) / bits - 1


def test_zeros_stay_zeros() -> None:
    values = MIXED.copy()
    values[4096:8192] = 0
    for bits in (0.1, 4.0):
        found = coded(values, bits, 3)
        assert not found[4096:8192].any()
        assert found[:4096].any()


@pytest.mark.parametrize("step", [0.3, 3.0, 30.0])
def test_the_error_is_foreseen(step: float) -> None:
    designer = Designer(survey(MIXED), 256, dither=True)
    foreseen = designer.design(np.float32(step))
    errors = []
    for seed in range(8):
        payload = encode_fast(MIXED, Goal(None, foreseen.error * 1.001), seed)
        errors.append(float(np.sum(np.square(read_draft(memoryview(payload), MIXED.size, dither=True) - MIXED))))
    assert foreseen.error * 0.8 < np.mean(errors) <= foreseen.error * 1.001


@pytest.mark.parametrize(
    ("head", "message"), [(17, "a thinning up to 16, got 17"), (64, "got 64"), (33, "first kind"), (63, "got 63")]
)
def test_hostile_kinds(head: int, message: str) -> None:
    payload = bytearray(encode_fast(MIXED[:256] * np.float32(100), Goal(100.0, None), 1))
    assert payload[1] == 0, "expected one kind, so that its thinning follows the seed"
    payload[14] = head
    with pytest.raises(PayloadError, match=message):
        read_draft(memoryview(bytes(payload)), 256, dither=True)
