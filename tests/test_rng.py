"""Streams: the same for the same path everywhere, others for others."""

import numpy as np
import pytest

from fedcomp.rng import derived_seed, stream

GOLDEN_ROOT = [8355228451997626809, 6164071060239237609, 66130856204346094, 5992274546838151199]
GOLDEN_PATH = [6417488274570277811, 6490690217356838682, 939172881156034525, 3430862921683178856]


def draws(rng: np.random.Generator) -> list[int]:
    return rng.integers(2**63, size=4).tolist()


def test_equal_paths_give_equal_draws():
    assert draws(stream(3, "train", "client-1", 7)) == draws(stream(3, "train", "client-1", 7))


def test_a_stream_is_the_same_on_every_platform_and_in_every_version():
    """A change of these numbers changes every partition and every initial model that anybody has reported."""
    assert draws(stream(0)) == GOLDEN_ROOT
    assert draws(stream(1, "partition", 2)) == GOLDEN_PATH


def test_paths_are_told_apart():
    paths = [(0,), (1,), (0, 1), (0, "1"), (0, "a", "b"), (0, "ab"), (0, "a,b"), (0, 'a","b'), (0, "b", "a"), (0, "")]
    assert len({tuple(draws(stream(*path))) for path in paths}) == len(paths)


def test_two_streams_are_not_correlated():
    """False alarm: |r| of 10,000 pairs exceeds 0.05 about once in 1.7 million seeds (five standard deviations)."""
    one, two = (stream(0, "client", index).standard_normal(10_000) for index in (1, 2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.05
    assert np.corrcoef(one, stream(0, "client", 1).standard_normal(10_000))[0, 1] == pytest.approx(1)


def test_derived_seeds_fit_63_bits_and_differ():
    seeds = [derived_seed(0, "model", index) for index in range(50)]
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**61
    assert derived_seed(0, "model", 7) == seeds[7]


def test_the_global_generator_plays_no_part(monkeypatch):
    def seed(value: int) -> list[int]:
        np.random.seed(value)  # noqa: NPY002 - to show that it changes nothing
        return draws(stream(0, "x"))

    assert seed(1) == seed(2)
