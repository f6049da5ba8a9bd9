"""The payload of rate, mode fast: read alike by a second reader, at every shape of table and of blocks."""

import numpy as np
import pytest
from slow_rate import masses, read_fast

from fedcomp.codecs import PayloadError
from fedcomp.codecs.cursor import Cursor
from fedcomp.codecs.entropy.hazards import fit_hazards, hazard_frequencies, read_hazards
from fedcomp.codecs.rate.classes import merge_scales
from fedcomp.codecs.rate.control import Goal
from fedcomp.codecs.rate.fast import encode_fast
from fedcomp.codecs.rate.levels import Reconstruction, dither_values
from fedcomp.codecs.rate.planning import Counts, plan_table
from fedcomp.codecs.rate.reader import read_draft
from fedcomp.codecs.rate.tables import read_table
from fedcomp.codecs.rate.thinning import plain_kinds
from fedcomp.codecs.rate.writer import Draft, write_draft
from fedcomp.codecs.stages.dither import dither

RNG = np.random.default_rng(0)


def mixed(size: int, layers: int = 8, decades: float = 2.5) -> np.ndarray:
    scales = RNG.permutation(10.0 ** np.linspace(0, -decades, layers))
    return (RNG.standard_normal(size) * np.repeat(scales, -(-size // layers))[:size]).astype(np.float32)


VALUES = {
    "gaussian": RNG.standard_normal(5001).astype(np.float32),
    "mixed": mixed(7000),
    "heavy tails": RNG.standard_cauchy(3000).astype(np.float32),
    "positive": np.abs(RNG.standard_normal(1500)).astype(np.float32),
    "two scales by turns": (RNG.standard_normal(8192) * np.repeat([1, 1e-3] * 16, 256)).astype(np.float32),
    "spike": np.r_[np.zeros(2000), 1e4, np.zeros(99)].astype(np.float32),
}


@pytest.mark.parametrize("bits", [0.2, 1.0, 9.0])
@pytest.mark.parametrize("name", VALUES)
def test_the_second_reader_reads_the_same(name: str, bits: float) -> None:
    values = VALUES[name]
    for seed in (None, 12345):
        payload = encode_fast(values, Goal(values.size * bits / 8, None), seed)
        assert payload
        found = read_draft(memoryview(payload), values.size, dither=seed is not None)
        assert found.tobytes() == read_fast(payload, values.size, seed is not None).tobytes()


def drafted(numbers: list[np.ndarray], classes: list[int], block: int) -> Draft:
    plans = [plan_table(Counts(each)) for each in numbers]
    kinds = plain_kinds(np.array(classes, dtype=np.uint8), len(numbers))
    return Draft(block, np.float32(0.5), (3, -2, 1), 0, kinds, numbers, plans)


NUMBERS = {
    "zeros": np.zeros(64, dtype=np.uint8),
    "ones": np.ones(64, dtype=np.uint8),
    "one large": np.r_[np.zeros(63, dtype=np.uint32), np.uint32(2**22 - 1)],
    "all large": RNG.integers(2**22 - 99, 2**22, 64).astype(np.uint32),
    "wide": (2.0 ** RNG.uniform(0, 22, 64)).astype(np.uint32),
    "uniform": RNG.integers(0, 256, 64).astype(np.uint8),
    "signed": RNG.integers(1, 3, 64).astype(np.uint8),
}


@pytest.mark.parametrize("first", NUMBERS)
@pytest.mark.parametrize("second", NUMBERS)
def test_levels_of_any_shape_come_back(first: str, second: str) -> None:
    """Two classes by turns, 40 values of the last block missing."""
    draft = drafted([NUMBERS[first], NUMBERS[second][:40]], [1, 0, 0, 1], 32)
    payload = write_draft(draft)
    found = read_draft(memoryview(payload), 104, dither=False)
    expected = Reconstruction(draft.step, (3, -2, 1))
    assert np.array_equal(found[32:96], expected.values(draft.numbers[0]))
    assert np.array_equal(np.r_[found[:32], found[96:]], expected.values(draft.numbers[1]))
    assert found.tobytes() == read_fast(payload, 104, False).tobytes()
    assert abs(len(payload) - draft.predicted_size()) <= 12


def test_classes_in_runs_cost_less_than_classes_at_random() -> None:
    numbers = [np.full(32 * 100, 2 * index, dtype=np.uint8) for index in range(4)]
    runs = write_draft(drafted(numbers, sorted(list(range(4)) * 100), 32))
    random = write_draft(drafted(numbers, RNG.permutation(list(range(4)) * 100).tolist(), 32))
    assert len(runs) + 60 < len(random) <= len(runs) + 110


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0, 4.0, 60.0, 300.0])
@pytest.mark.parametrize("source", ["normal", "laplace", "student"])
def test_a_table_costs_hardly_more_than_the_entropy(source: str, scale: float) -> None:
    rng, size = np.random.default_rng(3), 100_000
    drawn = {
        "normal": rng.standard_normal,
        "laplace": lambda n: rng.laplace(size=n),
        "student": lambda n: rng.standard_t(3, n),
    }
    levels = np.rint(drawn[source](size) * scale).astype(np.int64)
    numbers = np.where(levels < 0, -2 * levels - 1, 2 * levels).astype(np.uint32)
    shares = np.unique(levels, return_counts=True)[1] / size
    entropy = float(-(shares * np.log2(shares)).sum())
    # Of very many levels few occur at all: their empirical entropy is too small to be reached.
    allowed = 0.1 if scale > 100 else 0.03
    assert plan_table(Counts(numbers)).bits / size <= entropy + min(allowed, 0.005 + 0.02 * entropy)


def test_tables_survive_their_bytes() -> None:
    for numbers in NUMBERS.values():
        table = plan_table(Counts(numbers)).table
        cursor = Cursor(memoryview(table.dump()))
        again = read_table(cursor)
        cursor.finish()
        assert again.dump() == table.dump()
        assert again.frequencies.tolist() == table.frequencies.tolist()


@pytest.mark.parametrize("top", [1, 2, 7, 100])
def test_hazards_follow_the_specification(top: int) -> None:
    counts = np.bincount(np.minimum(RNG.geometric(0.3, 5000) - 1, top), minlength=top + 1)
    counts[-1] += 1
    parameters = fit_hazards(counts)
    mass = masses(parameters[1:], top)
    for signed in (False, True):
        frequencies = hazard_frequencies(parameters, top, signed=signed)
        assert frequencies.sum() == 2**14
        assert frequencies.min() >= 1
        assert len(frequencies) == (2 * top + 1 if signed else top + 1)
        assert abs(int(frequencies[0]) - mass[0] / 2**16) <= len(frequencies) + 1
    cursor = Cursor(memoryview(parameters))
    assert read_hazards(cursor) == parameters
    cursor.finish()


def test_hazards_take_few_bytes_and_lose_little() -> None:
    counts = np.bincount(np.abs(np.rint(RNG.laplace(scale=0.8, size=100_000))).astype(int))
    parameters = fit_hazards(counts)
    assert len(parameters) <= 5
    shares = counts / counts.sum()
    used = shares > 0
    frequencies = hazard_frequencies(parameters, len(counts) - 1, signed=False) / 2**14
    assert float((shares[used] * np.log2(shares[used] / frequencies[used])).sum()) < 2e-3
    wrong = hazard_frequencies(bytes([1, parameters[1]]), len(counts) - 1, signed=False) / 2**14
    assert float((shares[used] * np.log2(shares[used] / wrong[used])).sum()) > 2e-3


@pytest.mark.parametrize("parameters", [b"", b"\x02\x10", b"\x40" + bytes(64), b"\xff" + bytes(255)])
def test_hazards_that_are_too_many_or_end_early(parameters: bytes) -> None:
    with pytest.raises(PayloadError):
        read_hazards(Cursor(memoryview(parameters)))


def test_scales_are_merged_where_tables_cost_more_than_they_save() -> None:
    counts = np.zeros((122, 192))
    counts[40], counts[41], counts[80] = (
        np.r_[900, 100, np.zeros(190)],
        np.r_[899, 101, np.zeros(190)],
        np.r_[1, 1, np.ones(190)],
    )
    merging = merge_scales(counts * 30, np.repeat([40, 41, 80], 30).astype(np.uint8), 1.0)
    assert merging.count == 2
    assert merging.classes[[0, 40, 41, 80, 121]].tolist() == [0, 0, 0, 1, 1]


def test_the_dither_is_that_of_the_stage_dither() -> None:
    for size in (1, 2, 3, 2**16, 2**16 + 1, 2**17 + 3):
        assert np.array_equal(dither_values(99, size), dither(99, size))
