"""L0 on the books: sound terms pass, and each wrong way to book is found."""

from dataclasses import dataclass

import dp_accounting as dp
import numpy as np
import pytest

from fedcomp.audit.booked import check_adaptive, check_booked, check_secret_cohorts
from fedcomp.config import config_from_dict
from fedcomp.privacy import AdaptiveClip, CohortSampler, PoissonSampler
from fedcomp.rng import Randomness, stream
from fedcomp.terms import draw_cohort


def test_a_round_of_steps_is_booked_with_every_step():
    event = PoissonSampler(0, 0.1, 3).event(1.5)
    assert check_booked(event, [1.5], 0.1, 3).holds
    assert not check_booked(event, [1.5], 0.1, 4).holds
    assert not check_booked(event, [1.5], 0.2, 3).holds
    assert not check_booked(event, [1.4], 0.1, 3).holds


def test_a_cohort_of_a_fixed_size_moves_the_sum_twice():
    event = CohortSampler(100, "fixed", 10).event(2.0)
    assert check_booked(event, [2.0 / 2], 1.0, 1).holds
    assert not check_booked(dp.GaussianDpEvent(2.0), [2.0 / 2], 1.0, 1).holds


def test_the_bits_of_a_moving_bound_are_part_of_it():
    clip = AdaptiveClip(1.0, 0.5, 0.2, bit_noise=5.0, expected=100)
    on_sum = clip.noise_on_sum(1.0)
    assert check_booked(dp.GaussianDpEvent(1.0), [on_sum, 2 * clip.bit_noise], 1.0, 1).holds
    assert not check_booked(dp.GaussianDpEvent(1.0), [1.0, 2 * clip.bit_noise], 1.0, 1).holds


def test_an_event_of_another_kind_is_not_what_was_released():
    assert not check_booked(dp.NonPrivateDpEvent(), [1.0], 1.0, 1).holds
    assert not check_booked(dp.LaplaceDpEvent(1.0), [1.0], 1.0, 1).holds


@pytest.mark.parametrize("population", [3, 1000])
def test_a_cohort_by_the_seed_is_found(population):
    tree = {
        "clients": {"population": population, "cohort": population // 2, "sampling": "bernoulli"},
        "privacy": {"mode": "central", "unit": "client", "target_epsilon": 8.0},
    }
    config = config_from_dict(tree)
    rate = (population // 2) / population
    assert check_secret_cohorts(lambda number: draw_cohort(config, number), rate, population).holds

    def public(number: int) -> np.ndarray:
        return CohortSampler(population, "bernoulli", population // 2).cohort(stream(0, "cohort", number))

    assert not check_secret_cohorts(public, rate, population).holds


@dataclass(frozen=True)
class Reversed(AdaptiveClip):
    """The sign that shipped elsewhere: the bound flees from its quantile."""

    def following(self, within: int, without: int, rng: Randomness) -> float:
        return super().following(without, within, rng)


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_a_moving_bound_comes_to_its_quantile_and_a_reversed_one_does_not(quantile):
    sound = AdaptiveClip(1.0, quantile, 0.2, 5.0, 100)
    assert check_adaptive(sound).holds
    assert not check_adaptive(Reversed(1.0, quantile, 0.2, 5.0, 100)).holds
