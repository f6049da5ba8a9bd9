"""Classes of blocks; and levels of any size as symbols, low bits and extra numbers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.trellis.blocks import Blocks
from fedcomp.codecs.trellis.classes import choose_classes
from fedcomp.codecs.trellis.lanes import LaneDecoder, encode_lanes
from fedcomp.codecs.trellis.levels import Levels, dump_levels
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.parts import make_part
from fedcomp.codecs.trellis.table import read_table

SHIFTS = np.array([[5, -6, 7], [-8, 9, 10]])


def along_one_path(levels: np.ndarray) -> np.ndarray:
    """Numbers of levels, with the quantizers that they imply on one path."""
    b1 = b2 = b3 = 0
    numbers = []
    for level in levels.tolist():
        zigzag = 2 * level if level >= 0 else -2 * level - 1
        numbers.append(2 * zigzag + b2)
        b1, b2, b3 = (level % 2) ^ b1 ^ b3, b1, b2
    return np.array(numbers, dtype=np.uint32 if max(numbers) >= 2**16 else np.uint16)


def there_and_back(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the wire makes of levels on one path, and what they stand for by definition; both in steps."""
    numbers = along_one_path(levels)
    quantizer = numbers.astype(np.int64) % 2
    shift = SHIFTS[quantizer, np.clip(np.abs(levels), 1, 3) - 1] / 64
    expected = 2 * levels - quantizer * np.sign(levels) + np.sign(levels) * shift
    part = make_part(numbers, SHIFTS)
    states, words = encode_lanes([part.batch], 1)
    cursor = Cursor(memoryview(part.table.dump() + dump_levels(part.table, part.extras, part.low)))
    read = Levels(cursor, read_table(cursor), len(levels))
    cursor.finish()
    decoder = LaneDecoder(states, words, 1)
    values = read.decode(decoder, 1.0)
    decoder.finish()
    return values, expected


@settings(max_examples=25, deadline=None)
@given(scale=st.sampled_from([0.1, 1.0, 9.0, 60.0, 1e3, 3e5]), outliers=st.integers(0, 3), seed=st.integers(0, 99))
def test_levels_of_any_size(scale: float, outliers: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.rint(rng.normal(0, scale, 300)).astype(np.int64)
    levels[:outliers] = rng.integers(-(2**24), 2**24, outliers)
    values, expected = there_and_back(levels)
    np.testing.assert_array_equal(values, expected.astype(np.float32))


def test_outliers_are_extra_numbers_and_large_levels_have_low_bits() -> None:
    rng = np.random.default_rng(0)
    small = np.rint(rng.normal(0, 2, 5000)).astype(np.int64)
    small[17], small[40] = 30_001, -30_000
    part = make_part(along_one_path(small), SHIFTS)
    assert part.table.low_bits == 0
    assert part.table.top < 30
    assert len(part.extras) >= 2
    large = np.rint(rng.normal(0, 5000, 5000)).astype(np.int64)
    part = make_part(along_one_path(large), SHIFTS)
    assert part.table.low_bits >= 6
    assert part.table.top < 100


def test_too_few_or_too_many_extra_numbers_are_refused() -> None:
    levels = np.zeros(300, dtype=np.int64)
    levels[5] = 70_000
    part = make_part(along_one_path(levels), SHIFTS)
    states, words = encode_lanes([part.batch], 1)
    for extras in (part.extras[:0], np.append(part.extras, np.uint32(1))):
        cursor = Cursor(memoryview(part.table.dump() + dump_levels(part.table, extras, part.low)))
        read = Levels(cursor, read_table(cursor), len(levels))
        with pytest.raises(PayloadError, match="extra numbers"):
            read.decode(LaneDecoder(states, words, 1), 1.0)


def test_tables_over_the_limits_are_refused() -> None:
    good = make_part(along_one_path(np.array([0, 1, 2, 5])), SHIFTS).table.dump()
    read_table(Cursor(memoryview(good)))
    for at, value in ((0, 25), (2, 2), (3, 27), (10, 65)):
        damaged = bytearray(good)
        damaged[at] = value
        with pytest.raises(PayloadError):
            read_table(Cursor(memoryview(bytes(damaged))))


def blocks_of(scales: list[float], seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((len(scales), BLOCK))
    return (noise * np.array(scales)[:, None]).astype(np.float32)


def classes_of(values: np.ndarray, step: float) -> list[int]:
    return choose_classes(Blocks(values.reshape(-1)).scales(), step).tolist()


def test_one_scale_is_one_class_and_silence_is_none() -> None:
    assert classes_of(blocks_of([1.0] * 1000), 0.5) == [1] * 1000
    assert classes_of(blocks_of([1e-3] * 3), 0.5) == [0] * 3
    assert classes_of(blocks_of([]), 0.5) == []


def test_scales_far_apart_are_classes_where_a_table_pays() -> None:
    classes = classes_of(blocks_of([1.0] * 200 + [8.0] * 200 + [0.01] * 50), 0.5)
    assert classes == [1] * 200 + [2] * 200 + [0] * 50
    assert classes_of(blocks_of([1.0, 1.2]), 0.5) == [1, 1]
    assert classes_of(blocks_of([1.0, 1.25] * 20), 0.1) == [1] * 40
    assert set(classes_of(blocks_of([1.0, 1.5] * 20), 0.1)) == {1, 2}


def test_what_pads_the_last_block_does_not_make_it_a_class() -> None:
    values = blocks_of([1.0] * 400).reshape(-1)[: -BLOCK + 30]
    assert classes_of(values, 0.1)[-1] == 1
    values = blocks_of([1.0] * 100 + [0.13] * 100).reshape(-1)[: -BLOCK + 30]
    values[-30:] = 1.5
    assert classes_of(values, 0.1)[-1] == 2


def test_blocks_are_those_of_the_values_filled_with_zeros() -> None:
    values = blocks_of([1.0] * 5).reshape(-1)[:-100]
    blocks, whole = Blocks(values), np.append(values, np.zeros(100, dtype=np.float32)).reshape(5, BLOCK)
    assert len(blocks) == 5
    for chosen in ([], [0, 1, 2], [1, 3], [4], [0, 4], [0, 0, 2], [4, 4], [0, 1, 2, 3, 4]):
        np.testing.assert_array_equal(blocks.take(np.array(chosen, dtype=np.intp)), whole[chosen].reshape(-1))
    assert np.shares_memory(blocks.take(np.array([1, 2])), values)
    scales = blocks.scales()
    np.testing.assert_allclose(scales.means[:4], np.abs(whole[:4]).mean(axis=1), rtol=1e-5)
    assert scales.means[4] == pytest.approx(np.abs(values[4 * BLOCK :]).mean(), rel=1e-5)
    np.testing.assert_array_equal(scales.peaks, np.abs(whole).max(axis=1))
    np.testing.assert_allclose(blocks.energies(np.array([1, 4])), np.square(whole[[1, 4]]).sum(axis=1), rtol=1e-5)


def test_the_size_of_a_part_is_known_before_it_is_coded() -> None:
    rng = np.random.default_rng(1)
    for scale in (0.4, 9.0, 4000.0):
        levels = np.rint(rng.normal(0, scale, 20_000)).astype(np.int64)
        levels[::5000] = 40 * int(scale + 1)
        part = make_part(along_one_path(levels), SHIFTS)
        states, words = encode_lanes([part.batch], 4)
        size = len(part.table.dump() + dump_levels(part.table, part.extras, part.low)) + 2 * len(words)
        assert part.size == pytest.approx(size + 2 * len(states) - 4, rel=2e-3, abs=8)
