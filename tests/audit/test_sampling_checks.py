"""The checks of sampling: silent on Poisson sampling of every size, and each other way of sampling is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcomp.audit.sampling_checks import check_inclusions
from fedcomp.crypto import SecretStream
from fedcomp.privacy.sampling import PoissonSampler

ROUNDS, UNITS, RATE = 120, 400, 0.25


def draw(rate=RATE, shape=(ROUNDS, UNITS), seed=0):
    return np.random.default_rng(seed).random(shape) < rate


def failed(checks) -> set[str]:
    return {check.name for check in checks if not check.holds}


def shuffled(batch: int, rounds: int = ROUNDS) -> np.ndarray:
    rng, included = np.random.default_rng(1), np.zeros((rounds, UNITS), dtype=bool)
    for first in range(0, rounds, UNITS // batch):
        for row, chosen in enumerate(rng.permutation(UNITS).reshape(-1, batch)):
            if first + row < rounds:
                included[first + row, chosen] = True
    return included


def test_silent_on_the_sampler_with_secret_randomness():
    """Not seeded: a false alarm has probability 1e-6."""
    sampler = PoissonSampler(200, 0.3, 50)
    included = np.zeros((50, 200), dtype=bool)
    for row, batch in enumerate(sampler.batches(SecretStream())):
        included[row, batch] = True
    checks = check_inclusions(included, 0.3)
    assert not failed(checks), checks
    assert failed(check_inclusions(included, 0.6))


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.001, 1.0), st.integers(0, 2**32))
def test_silent_on_every_size(rounds, units, rate, seed):
    """Each example raises a false alarm with probability 1e-6 at most, also where counts are far from normal."""
    assert not failed(check_inclusions(draw(rate, (rounds, units), seed), rate))


def test_p_values_are_not_too_small():
    """1000 small matrices at a rate of 2 %, seeded, where the normal approximation would be far off."""
    rng = np.random.default_rng(3)
    values = np.array([[c.p_value for c in check_inclusions(rng.random((20, 15)) < 0.02, 0.02)] for _ in range(1000)])
    for level in (0.1, 0.01):
        assert ((values < level).mean(axis=0) <= level + 3 * np.sqrt(level * (1 - level) / 1000)).all()


FAULTS = {
    "rate a tenth too large": (lambda: draw(1.1 * RATE), {"total"}),
    "rate doubled": (lambda: draw(2 * RATE), {"total", "batch_sizes", "unit_counts"}),
    "full batch": (lambda: np.ones((ROUNDS, UNITS), dtype=bool), {"total"}),
    "shuffled": (lambda: shuffled(100), {"batch_sizes", "unit_counts", "next_round", "next_but_one"}),
    "30 % available": (lambda: draw(RATE / 0.3) & draw(0.3, UNITS, 6), {"unit_counts", "next_round"}),
    "units in groups of four": (lambda: np.repeat(draw(shape=(ROUNDS, UNITS // 4)), 4, axis=1), {"batch_sizes"}),
    "each sample used twice": (lambda: np.repeat(draw(shape=(ROUNDS // 2, UNITS)), 2, axis=0), {"repeats"}),
    "one sample used again": (lambda: np.vstack([draw()[:-1], draw()[:1]]), {"repeats"}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_another_way_of_sampling_fails_its_checks(name):
    make, checks = FAULTS[name]
    assert not failed(check_inclusions(draw(), RATE))
    found = failed(check_inclusions(make(), RATE))
    assert found
    assert checks <= found


def test_fixed_size_is_named_by_its_spread_alone():
    order = np.random.default_rng(7).random((ROUNDS, UNITS)).argsort(axis=1)
    assert failed(check_inclusions(order < 100, RATE)) == {"batch_sizes"}


def test_everyone_always_at_rate_1():
    everyone = np.ones((20, 30), dtype=bool)
    assert not failed(check_inclusions(everyone, 1.0))
    everyone[3, 7] = False
    assert "total" in failed(check_inclusions(everyone, 1.0))


def test_one_round_or_one_unit():
    assert not failed(check_inclusions(draw(shape=(1, 400)), RATE))
    assert not failed(check_inclusions(draw(shape=(400, 1)), RATE))
    assert failed(check_inclusions(np.ones((1, 400), dtype=bool), RATE)) >= {"total", "batch_sizes"}


def test_refusals_name_what_is_wrong():
    for included, rate, alpha, message in (
        (draw().astype(int), RATE, 0.1, "included must be booleans"),
        (draw()[0], RATE, 0.1, "included must be booleans"),
        (draw()[:0], RATE, 0.1, "included must be booleans"),
        (draw(), 0.0, 0.1, "sampling_probability must be in"),
        (draw(), float("nan"), 0.1, "sampling_probability must be in"),
        (draw(), RATE, 1.0, "alpha must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            check_inclusions(included, rate, alpha=alpha)
