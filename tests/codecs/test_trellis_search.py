"""The search through the trellis against all paths, tried one by one; and what it is given to search with."""

from itertools import product

import numpy as np
import pytest

from fedcomp.codecs.trellis.bins import BINS_PER_STEP, COST_UNIT, HISTORY_BITS, MOST, TABLE_BINS, Lookup, Reader
from fedcomp.codecs.trellis.blocks import Blocks
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.model import PRICE_OF_BIT, Model
from fedcomp.codecs.trellis.search import Group, find_apart, find_numbers


def a_lookup(rng: np.random.Generator, most: float = 5) -> Lookup:
    costs = rng.uniform(0, most, (4, TABLE_BINS)).astype(np.float32)
    levels = 2 * rng.integers(0, 9, (4, TABLE_BINS)) + np.array([[0], [1], [0], [1]])
    return Lookup.of(costs, levels.astype(np.int32))


def path_cost(lookup: Lookup, places: np.ndarray, parities: tuple[int, ...], start: int = 0) -> int:
    """The cost of one path, relative to even levels of quantizer 0 throughout, from the definition of the trellis."""
    b1, b2, b3, cost = start & 1, start >> 1 & 1, start >> 2, 0
    for place, parity in zip(places, parities, strict=True):
        cost += int(lookup.second[place]) * b2 + int(lookup.odd[b2, place]) * parity
        b1, b2, b3 = parity ^ b1 ^ b3, b1, b2
    return cost


def walk(numbers: np.ndarray) -> list[int]:
    """The quantizer of each value that the parities of the levels before it imply."""
    b1 = b2 = b3 = 0
    quantizers = []
    for number in numbers.tolist():
        quantizers.append(b2)
        b1, b2, b3 = ((number // 2 + 1) // 2 % 2) ^ b1 ^ b3, b1, b2
    return quantizers


@pytest.mark.parametrize("seed", range(3))
def test_no_path_is_cheaper(seed: int) -> None:
    """Paths of eight values: 32 paths share a block, and each has 2**8 sequences of parities to choose from."""
    rng = np.random.default_rng(seed)
    values, lookup, paths = rng.normal(0, 3, BLOCK).astype(np.float32), a_lookup(rng), BLOCK // 8
    (numbers,) = find_numbers(Blocks(values), [Group(np.array([0]), lookup)], BINS_PER_STEP, paths)
    codes = np.empty(BLOCK, dtype=np.uint16)
    places, _ = Reader(BINS_PER_STEP, BLOCK).read(values, codes)
    assert np.array_equal(codes, 2 * places + (values < 0))
    places = places.reshape(8, paths)
    parities = ((numbers.astype(np.int64) // 2 + 1) // 2 % 2).reshape(8, paths)
    greedy_is_worse = False
    for path in range(paths):
        best = min(path_cost(lookup, places[:, path], chosen) for chosen in product((0, 1), repeat=8))
        assert path_cost(lookup, places[:, path], tuple(parities[:, path].tolist())) == best
        assert walk(numbers.reshape(8, paths)[:, path]) == (numbers.reshape(8, paths)[:, path] % 2).tolist()
        greedy_is_worse |= path_cost(lookup, places[:, path], (0,) * 8) > best
    assert greedy_is_worse


def test_paths_go_on_from_group_to_group_and_through_rows_that_are_not_full() -> None:
    rng = np.random.default_rng(3)
    values, paths = rng.normal(0, 3, 7 * BLOCK).astype(np.float32), 100
    groups = [
        Group(np.array([4, 1]), a_lookup(rng)),
        Group(np.array([0]), a_lookup(rng)),
        Group(np.array([5, 6]), a_lookup(rng)),
    ]
    numbers = find_numbers(Blocks(values), groups, BINS_PER_STEP, paths)
    assert [len(part) for part in numbers] == [512, 256, 512]
    for path in range(paths):
        along = np.concatenate([part[path::paths] for part in numbers])
        assert walk(along) == (along % 2).tolist()


@pytest.mark.parametrize("paths", [85, 100, 128, 200, 256])
def test_the_largest_differences_of_costs_lead_no_path_astray(paths: int) -> None:
    """Rows of costs that differ by as much as there is: all paths start in state 0, whatever it costs."""
    rng = np.random.default_rng(paths)
    values = rng.normal(0, 3, 40 * BLOCK).astype(np.float32)
    groups = [Group(np.array([index]), a_lookup(rng, 10.0 ** rng.uniform(0, 3))) for index in range(40)]
    numbers = find_numbers(Blocks(values), groups, BINS_PER_STEP, paths)
    for path in range(paths):
        along = np.concatenate([part[path::paths] for part in numbers])
        assert walk(along) == (along % 2).tolist()


def test_groups_apart_have_paths_of_their_own_that_start_anywhere() -> None:
    rng = np.random.default_rng(4)
    values, lookups = rng.normal(0, 3, (3, BLOCK)).astype(np.float32), [a_lookup(rng) for _ in range(3)]
    numbers = find_apart(values, lookups, BINS_PER_STEP, 8).reshape(3, 8, -1)
    used = set()
    for group, path in ((0, 0), (0, 31), (1, 5), (2, 17), (2, 31)):
        along, here = numbers[group, :, path].astype(np.int64), values[group].reshape(8, -1)[:, path]
        places, _ = Reader(BINS_PER_STEP, 8).read(here, np.empty(8, dtype=np.uint16))
        parities = tuple(((along // 2 + 1) // 2 % 2).tolist())
        cost, start = min((path_cost(lookups[group], places, parities, start), start) for start in range(8))
        best = min(
            path_cost(lookups[group], places, chosen, first)
            for first, chosen in product(range(8), product((0, 1), repeat=8))
        )
        assert cost == best
        used.add(start)
    assert len(used) > 1
    far = np.full((1, BLOCK), 1e6, dtype=np.float32)
    assert find_apart(far, lookups[:1], BINS_PER_STEP, 8).min() > 10**6


def test_signs_and_levels_beyond_the_table() -> None:
    """A model without prices: every value comes within two steps of its neighbour in the subset, however large."""
    model = Model(np.zeros((2, 20)), np.zeros((2, 3), dtype=np.int64))
    values = np.geomspace(0.3, 2**24, BLOCK).astype(np.float32)
    values[::2] *= -1
    (numbers,) = find_numbers(Blocks(values), [Group(np.array([0]), model.lookup)], BINS_PER_STEP, 4)
    assert numbers.dtype == np.uint32
    zigzag, quantizer = numbers.astype(np.int64) // 2, numbers.astype(np.int64) % 2
    level = np.where(zigzag % 2 == 1, -(zigzag + 1) // 2, zigzag // 2)
    point = 2 * level - quantizer * np.sign(level)
    assert np.abs(point - values.astype(np.float64)).max() <= 2 + 1 / BINS_PER_STEP
    assert (np.sign(level) * np.sign(values) >= 0).all()


def test_a_lookup_holds_the_cheapest_level_of_each_subset() -> None:
    rng = np.random.default_rng(5)
    bits, shifts = rng.uniform(0, 9, (2, 20)), rng.integers(-60, 60, (2, 3))
    lookup = Model(bits, shifts).lookup
    for place in (0, 5, 33, 100, 400):
        center = (place + 0.5) / BINS_PER_STEP
        best = {}
        for q, k in product((0, 1), range(20)):
            point = 2 * k - q + shifts[q, min(k, 3) - 1] / 64 if k else 0.0
            cost = (center - point) ** 2 + PRICE_OF_BIT * bits[q, k]
            best[q, k % 2] = min(best.get((q, k % 2), (np.inf, 0)), (cost, k))
        numbers = lookup.numbers.reshape(-1, 2, 4)[place].tolist()
        levels = [(best[q, z][1], q) for q, z in product((0, 1), repeat=2)]
        assert numbers == [[4 * level + q for level, q in levels], [max(4 * level - 2, 0) + q for level, q in levels]]
        for q in (0, 1):
            expected = np.clip((best[q, 1][0] - best[q, 0][0]) * COST_UNIT, -MOST, MOST)
            assert abs(int(lookup.odd[q, place]) - expected) <= 2**HISTORY_BITS / 2 + 0.1
            assert int(lookup.odd[q, place]) % 2**HISTORY_BITS == 0


def test_a_model_learns_points_and_rate_from_what_was_chosen() -> None:
    """Half of the magnitudes zero, half a quarter step beyond a point of quantizer 0: a bit, and half a sign."""
    model = Model(np.zeros((2, 20)), np.zeros((2, 3), dtype=np.int64))
    numbers = np.tile(np.array([0, 4], dtype=np.uint16), 5000)
    magnitudes = np.tile(np.array([0, 2.25], dtype=np.float32), 5000)
    learnt = model.learn(magnitudes, numbers)
    assert learnt.shifts.tolist() == [[16, 0, 0], [0, 0, 0]]
    assert learnt.lengths[[0, 4]].tolist() == [1, 2]
    assert learnt.cost == pytest.approx(0.25**2 / 2 + PRICE_OF_BIT * 1.5, rel=1e-6)
    assert learnt.bits[0, :2] == pytest.approx([1, 2])
    assert (learnt.bits[0, 2:] > 10).all()
