"""The entropy coder: near the entropy, equal to its specification, and lossless."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow_decoder import coded_stream, slots_of

from fedcomp.codecs import PayloadError
from fedcomp.codecs.cursor import Cursor, dump_number
from fedcomp.codecs.entropy.bits import pack_bits, packed_size, unpack_bits
from fedcomp.codecs.entropy.lanes import Batch, LaneDecoder, encode_lanes
from fedcomp.codecs.entropy.stream import MAX_STEPS, read_stream, write_stream
from fedcomp.codecs.entropy.symbols import from_unsigned, to_unsigned
from fedcomp.codecs.entropy.tables import (
    SLOTS,
    dump_frequencies,
    group_table,
    read_frequencies,
    symbol_frequencies,
)
from fedcomp.codecs.layout import num_bytes
from fedcomp.codecs.stage import Spec

RNG = np.random.default_rng(0)
STREAMS = {
    "mask": RNG.random(5000) < 0.05,
    "sparse mask": RNG.random(20_000) < 0.001,
    "one set": np.arange(3000) == 1234,
    "levels": np.rint(RNG.standard_normal(4001)).astype(np.int32),
    "wide levels": np.rint(RNG.standard_normal(3000) * 1e6).astype(np.int32),
    "extremes": np.array([-(2**31), 2**31 - 1, 0, -1] * 100, dtype=np.int32),
    "bytes": RNG.integers(0, 256, 1000).astype(np.uint8),
    "small levels": RNG.integers(-3, 4, 999).astype(np.int8),
    "constant": np.full(5000, -7, dtype=np.int8),
    "halves": RNG.standard_normal(3000).astype(np.float16),
    "floats": RNG.standard_normal(4000).astype(np.float32),
    "few": np.array([1, 2, 3], dtype=np.int16),
    "none": np.empty(0, dtype=np.int32),
    "skewed": (RNG.random(40_000) < 2e-5).astype(np.int32) * 500,
}


def specs(arrays: list[np.ndarray]) -> list[Spec]:
    return [Spec(array.dtype, array.size) for array in arrays]


@pytest.mark.parametrize("name", STREAMS)
def test_round_trip_of_a_stream(name: str) -> None:
    (found,) = read_stream(memoryview(write_stream([STREAMS[name]])), specs([STREAMS[name]]))
    assert found.dtype == STREAMS[name].dtype
    assert found.tobytes() == STREAMS[name].tobytes()


def test_round_trip_of_many_streams_in_common_lanes() -> None:
    arrays = list(STREAMS.values())
    found = read_stream(memoryview(write_stream(arrays)), specs(arrays))
    assert [array.tobytes() for array in found] == [array.tobytes() for array in arrays]
    assert read_stream(memoryview(write_stream([])), []) == []


def test_the_second_decoder_reads_the_same() -> None:
    arrays = list(STREAMS.values())
    sizes = [num_bytes(array.dtype, array.size) for array in arrays]
    found = coded_stream(write_stream(arrays), [array.size for array in arrays], sizes)
    coded = [part for part in found if not isinstance(part, bytes)]
    assert len(coded) >= 8
    for array, part in zip(arrays, found, strict=True):
        if isinstance(part, bytes):
            assert array.dtype.kind == "b" or part == array.tobytes()
        else:
            assert part == to_unsigned(array).tolist()


@settings(max_examples=15, deadline=None)
@given(
    probabilities=st.lists(st.floats(1e-4, 1), min_size=1, max_size=30),
    size=st.integers(64, 1500),
    seed=st.integers(0, 100),
)
def test_any_distribution_comes_back_and_is_read_alike(probabilities: list[float], size: int, seed: int) -> None:
    weights = np.array(probabilities) ** 3
    values = np.random.default_rng(seed).choice(len(weights), size, p=weights / weights.sum()).astype(np.int32) - 3
    stream = write_stream([values])
    assert np.array_equal(read_stream(memoryview(stream), specs([values]))[0], values)
    (part,) = coded_stream(stream, [size], [4 * size])
    assert isinstance(part, bytes) or part == to_unsigned(values).tolist()


@pytest.mark.parametrize(
    ("scale", "size", "excess"),
    [(0.3, 200_000, 0.02), (0.7, 200_000, 0.012), (4.0, 200_000, 0.012), (0.7, 40_000, 0.02)],
)
def test_levels_cost_hardly_more_than_their_entropy(scale: float, size: int, excess: float) -> None:
    values = np.rint(np.random.default_rng(1).standard_normal(size) * scale).astype(np.int32)
    shares = np.unique(values, return_counts=True)[1] / size
    entropy = float(-(shares * np.log2(shares)).sum()) * size / 8
    assert entropy <= len(write_stream([values])) <= entropy * (1 + excess)


@pytest.mark.parametrize("density", [0.3, 0.05, 0.01, 0.001])
def test_masks_cost_hardly_more_than_their_entropy(density: float) -> None:
    mask = np.random.default_rng(2).random(200_000) < density
    share = mask.mean()
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)) * mask.size / 8
    assert len(write_stream([mask])) <= entropy * 1.03 + 40


def test_noise_is_never_longer_than_its_bytes_and_a_header() -> None:
    for values in (RNG.integers(0, 256, 5000).astype(np.uint8), RNG.random(5000) < 0.5):
        assert len(write_stream([values])) <= num_bytes(values.dtype, values.size) + 7


def test_a_large_sparse_stream_stays_under_the_limit_of_steps() -> None:
    mask = np.zeros(2**19, dtype=np.bool_)
    mask[::100_003] = True
    stream = write_stream([mask, mask.astype(np.int8), mask[:100]])
    lanes = int.from_bytes(stream[:2], "little")
    assert lanes * MAX_STEPS >= 2 * mask.size / 12
    found = read_stream(memoryview(stream), specs([mask, mask.astype(np.int8), mask[:100]]))
    assert np.array_equal(found[0], mask)


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(0, 10**6), min_size=1, max_size=12).filter(any), group=st.integers(1, 6))
def test_slots_follow_the_specification(counts: list[int], group: int) -> None:
    frequencies = symbol_frequencies(np.array(counts, dtype=np.int64))
    assert frequencies.sum() == 2**14
    assert ((frequencies > 0) == (np.array(counts) > 0)).all()
    if group == 1 or len(counts) ** group <= 4096:
        table = group_table(frequencies, group)
        assert table.frequencies.sum() == SLOTS
        assert table.frequencies.min() >= 0
        assert table.frequencies.tolist() == slots_of(frequencies.tolist(), group)


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(1, 2**14 - 1), min_size=1, max_size=63, unique=True))
def test_slots_of_any_frequencies_that_an_attacker_sends(cuts: list[int]) -> None:
    frequencies = np.diff([0, *sorted(cuts), 2**14])
    for group in range(2, 13):
        if len(frequencies) ** group <= 4096:
            table = group_table(frequencies, group)
            assert table.frequencies.sum() == SLOTS
            assert table.frequencies.min() >= 0
            assert table.frequencies[-1] >= 1


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.sampled_from([0, 0, 0, 1, 5, 300, 10**5]), min_size=1, max_size=1024).filter(any))
def test_frequencies_survive_their_bytes(counts: list[int]) -> None:
    frequencies = symbol_frequencies(np.array(counts, dtype=np.int64))
    cursor = Cursor(memoryview(dump_frequencies(frequencies)))
    assert read_frequencies(cursor, len(counts)).tolist() == frequencies.tolist()
    cursor.finish()


@given(value=st.integers(0, 2**28 - 1))
def test_numbers_survive_their_bytes_in_one_form_alone(value: int) -> None:
    data = dump_number(value)
    assert Cursor(memoryview(data)).number() == value
    longer = data[:-1] + bytes([data[-1] | 128, 0])
    with pytest.raises(PayloadError):
        Cursor(memoryview(longer)).number()


def test_numbers_that_do_not_end() -> None:
    for data in (b"", b"\x80", b"\xff\xff\xff\xff\x01", b"\x80\x00"):
        with pytest.raises(PayloadError):
            Cursor(memoryview(data)).number()


@pytest.mark.parametrize("lanes", [1, 2, 7, 64, 100])
def test_lanes_give_back_their_batches(lanes: int) -> None:
    frequencies = symbol_frequencies(np.array([5, 0, 300, 1, 70])) * 2
    batches = [
        Batch(np.random.default_rng(index).choice([0, 2, 3, 4], size), frequencies)
        for index, size in enumerate([1, 64, 997])
    ]
    decoder = LaneDecoder(*encode_lanes(batches, lanes))
    for batch in batches:
        assert np.array_equal(decoder.read(batch.frequencies, len(batch.indices)), batch.indices)
    decoder.finish()


def test_lanes_refuse_other_ends() -> None:
    frequencies = symbol_frequencies(np.array([5, 300])) * 2
    states, words = encode_lanes([Batch(np.arange(200) % 2, frequencies)], 4)
    with pytest.raises(PayloadError, match="do not end where"):
        LaneDecoder(states, np.append(words, words[:1])).finish()
    with pytest.raises(PayloadError, match="ends early"):
        LaneDecoder(states, words[:-1]).read(frequencies, 200)
    with pytest.raises(PayloadError, match="at least 65536"):
        LaneDecoder(states >> np.uint32(16), words)


@settings(deadline=None)
@given(width=st.integers(0, 31), size=st.integers(0, 300), seed=st.integers(0, 10))
def test_bits_survive(width: int, size: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 2**32, size, dtype=np.uint32)
    data = pack_bits(values, width)
    assert len(data) == packed_size(width, size)
    assert np.array_equal(unpack_bits(memoryview(data), width, size), values & np.uint32(2**width - 1))


def test_bits_survive_across_blocks() -> None:
    values = RNG.integers(0, 2**11, 2**17 + 5, dtype=np.uint32)
    assert np.array_equal(unpack_bits(memoryview(pack_bits(values, 11)), 11, values.size), values)


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32])
def test_unsigned_numbers_cover_the_whole_dtype(dtype: type) -> None:
    if dtype is np.bool_:
        values = np.array([False, True])
    else:
        info = np.iinfo(dtype)
        values = np.array([info.min, info.max, info.min + 1, info.max - 1, 0, 1], dtype=dtype)
    numbers = to_unsigned(values)
    assert np.array_equal(from_unsigned(numbers, values.dtype), values)
    if values.dtype.itemsize < 4:
        with pytest.raises(PayloadError, match="below"):
            from_unsigned(np.array([2 ** (8 * values.dtype.itemsize)], dtype=np.uint32), values.dtype)


def test_small_magnitudes_have_small_numbers() -> None:
    assert to_unsigned(np.array([0, -1, 1, -2, 2], dtype=np.int8)).tolist() == [0, 1, 2, 3, 4]
