"""The coder along the trellis: what goes in comes out, whatever the number of lanes and paths; damage is noticed."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.entropy.hazards import hazard_frequencies
from fedcomp.codecs.trellis.lanes import LOWEST_STATE, SLOTS, Batch, LaneDecoder, encode_lanes

TABLES = [np.stack([hazard_frequencies(bytes([2, a, b]), top) for a, b in ((90, 60), (200, 30))]) for top in (1, 6, 40)]


def along_the_trellis(symbols: list[np.ndarray], paths: int) -> list[np.ndarray]:
    """Numbers 2 symbol + quantizer, the quantizers as the paths imply them, value by value."""
    register = [[0, 0, 0] for _ in range(paths)]
    out = []
    for batch in symbols:
        numbers = []
        for index, symbol in enumerate(batch.tolist()):
            b1, b2, b3 = register[index % paths]
            numbers.append(2 * symbol + b2)
            register[index % paths] = [((symbol + 1) // 2 % 2) ^ b1 ^ b3, b1, b2]
        out.append(np.array(numbers, dtype=np.uint16))
    return out


def odd(table: np.ndarray) -> np.ndarray:
    return (np.arange(table.shape[1]) + 1) // 2 % 2


def read(decoder: LaneDecoder, table: np.ndarray, count: int) -> np.ndarray:
    found = decoder.read(table, odd(table), count).astype(np.int64)
    symbol = np.stack([np.repeat(np.arange(table.shape[1]), row) for row in table])
    return 2 * symbol[found // SLOTS, found % SLOTS] + found // SLOTS


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    lanes=st.integers(1, 20),
    ratio=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_round_trip(sizes: list[int], lanes: int, ratio: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = [TABLES[index % 3] for index in range(len(sizes))]
    symbols = [rng.integers(0, table.shape[1], size) for table, size in zip(tables, sizes, strict=True)]
    numbers = along_the_trellis(symbols, lanes * ratio)
    states, words = encode_lanes([Batch(n, t) for n, t in zip(numbers, tables, strict=True)], lanes)
    decoder = LaneDecoder(states, words, lanes * ratio)
    for expected, table in zip(numbers, tables, strict=True):
        np.testing.assert_array_equal(read(decoder, table, len(expected)), expected)
    decoder.finish()


def test_another_number_of_paths_reads_something_else() -> None:
    """The control: the quantizers really come from the paths."""
    numbers = along_the_trellis([np.random.default_rng(0).integers(0, 13, 600)], 12)
    states, words = encode_lanes([Batch(numbers[0], TABLES[1])], 4)
    decoder = LaneDecoder(states, words, 8)
    with contextlib.suppress(PayloadError):
        assert (read(decoder, TABLES[1], 600) != numbers[0]).any()


def test_forced_parities_take_the_place_of_those_of_symbols() -> None:
    """The same walk, told beside the lanes: the table is asked for nothing."""
    table = TABLES[1]
    (numbers,) = along_the_trellis([np.random.default_rng(1).integers(0, 13, 500)], 10)
    states, words = encode_lanes([Batch(numbers, table)], 5)
    parities = odd(table)[numbers // 2].astype(np.uint8)
    told = LaneDecoder(states, words, 10).read(table, np.zeros(13, dtype=np.int64), 500, parities)
    np.testing.assert_array_equal(told, LaneDecoder(states, words, 10).read(table, odd(table), 500))


def test_the_words_take_about_as_many_bits_as_the_entropy() -> None:
    """Symbols drawn from the tables themselves: within a percent, the 24 bits that a lane costs apart."""
    rng, table, paths = np.random.default_rng(2), TABLES[1], 40
    register = np.zeros((3, paths), dtype=np.int64)
    rows, bits = [], 0.0
    for _ in range(250):
        symbols = np.array([rng.choice(13, p=table[q] / SLOTS) for q in register[1]])
        bits += float((14 - np.log2(table[register[1], symbols])).sum())
        rows.append(2 * symbols + register[1])
        register = np.stack([odd(table)[symbols] ^ register[0] ^ register[2], register[0], register[1]])
    states, words = encode_lanes([Batch(np.concatenate(rows).astype(np.uint16), table)], 8)
    assert 16 * len(words) + 8 * 32 == pytest.approx(bits + 8 * 24, rel=0.01)
    assert states.min() >= LOWEST_STATE


def test_damage_is_noticed() -> None:
    (numbers,) = along_the_trellis([np.random.default_rng(3).integers(0, 13, 500)], 10)
    states, words = encode_lanes([Batch(numbers, TABLES[1])], 5)
    with pytest.raises(PayloadError, match="ends early"):
        read(LaneDecoder(states, words[:-1], 10), TABLES[1], 500)
    longer = LaneDecoder(states, np.append(words, np.uint16(7)), 10)
    read(longer, TABLES[1], 500)
    with pytest.raises(PayloadError, match="do not end"):
        longer.finish()
    with pytest.raises(PayloadError, match="lane states"):
        LaneDecoder(np.array([5], dtype=np.uint32), words, 1)
