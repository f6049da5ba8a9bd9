"""Terms of privacy: what a round is accounted as, what the noise is relative to, and what cannot be claimed."""

import dp_accounting as dp
import pytest

from fedcomp import terms
from fedcomp.config import config_from_dict
from fedcomp.privacy import epsilon

CENTRAL = {"mode": "central", "unit": "client", "clipping_norm": 2.0, "noise_multiplier": 1.5, "delta": 1e-3}
EXAMPLE = {
    "mode": "central",
    "unit": "example",
    "max_grad_norm": 0.5,
    "sampling_probability": 0.2,
    "nominal_examples": 50,
    "delta": 1e-4,
    "noise_multiplier": 3.0,
}
HALF = {"population": 20, "cohort": 10, "sampling": "bernoulli"}


def config(privacy, **changes):
    return config_from_dict({"rounds": 30, "clients": {"population": 20}, "privacy": privacy, **changes})


@pytest.mark.parametrize(
    ("clients", "event"),
    [
        ({"population": 20}, dp.GaussianDpEvent(1.5)),
        (HALF, dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(1.5))),
        # one client less lets another in: the sum moves by twice the bound
        ({**HALF, "sampling": "fixed"}, dp.GaussianDpEvent(0.75)),
    ],
)
def test_a_round_of_clients_is_what_their_sampler_says(clients, event):
    assert terms.round_event(config(CENTRAL, clients=clients)) == event


def test_a_round_of_examples_is_one_poisson_batch():
    expected = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.2, dp.GaussianDpEvent(3.0)), 1)
    assert terms.round_event(config(EXAMPLE)) == expected
    assert terms.round_event(config({"mode": "none"})) is None


@pytest.mark.parametrize("sampling", ["all", "bernoulli", "fixed"])
def test_noise_is_calibrated_to_what_is_accounted(sampling):
    privacy = {**CENTRAL, "noise_multiplier": None, "target_epsilon": 4.0}
    clients = {"population": 20, "sampling": sampling, **({"cohort": 10} if sampling != "all" else {})}
    found = terms.noise_multiplier(config(privacy, clients=clients))
    decided = config({**privacy, "noise_multiplier": found}, clients=clients)
    assert 3.9 < epsilon([(terms.round_event(decided), 30)], 1e-3) <= 4.0


def test_bound_and_factor_are_public_constants():
    by_client = config(CENTRAL, clients=HALF)
    assert (terms.bound(by_client), terms.server_factor(by_client)) == (2.0, 1 / 10)
    assert terms.server_mechanism(by_client).noise_std == 3.0
    by_example = config(EXAMPLE, training={"learning_rate": 4.0})
    assert terms.bound(by_example) == 0.5
    assert terms.server_factor(by_example) == pytest.approx(-4.0 / (0.2 * 50 * 20))


@pytest.mark.parametrize(
    ("privacy", "changes", "words"),
    [
        ({**CENTRAL, "mode": "local", "nominal_examples": 50}, {}, "privacy.unit: expected 'example'"),
        ({**CENTRAL, "noise_multiplier": None}, {}, "privacy.target_epsilon: expected it or"),
        ({**CENTRAL, "noise_multiplier": 0.0}, {}, "privacy.noise_multiplier: expected more than 0"),
        ({**CENTRAL, "delta": 0.05}, {}, "privacy.delta: expected less than 1 / clients.population = 0.05"),
        ({**EXAMPLE, "delta": 1e-3}, {}, "privacy.delta: expected less than 1 / (examples that one account covers)"),
        ({**EXAMPLE, "nominal_examples": None}, {}, "privacy.nominal_examples"),
        (EXAMPLE, {"training": {"local_epochs": 1}}, "training.local_epochs"),
        (EXAMPLE, {"training": {"local_steps": 2}}, "training.local_steps: expected 1"),
        (EXAMPLE, {"training": {"momentum": 0.5}}, "training.momentum: expected 0"),
        (EXAMPLE, {"clients": HALF}, "clients.sampling: expected 'all'"),
        ({**EXAMPLE, "clipping_quantile": 0.5}, {}, "privacy.clipping_quantile: expected none"),
        ({**EXAMPLE, "clipping_headroom": 2.0}, {}, "privacy.clipping_headroom: expected 1"),
        ({**CENTRAL, "mode": "distributed"}, {}, "privacy.mode: expected one of"),
    ],
)
def test_what_cannot_be_claimed_is_named(privacy, changes, words):
    assert any(problem.startswith(words) for problem in terms.problems(config(privacy, **changes)))
    assert not terms.problems(config(CENTRAL))
    assert not terms.problems(config(EXAMPLE))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clipping_quantile": 0.5, "clipping_bit_noise": 0.7}, "privacy.clipping_bit_noise: expected noise on bits"),
        ({"noise_multiplier": None, "target_epsilon": 1e-13}, "privacy.target_epsilon: "),
        ({"noise_multiplier": 5000.0}, "privacy.noise_multiplier: "),
    ],
)
def test_noise_that_cannot_be_is_named(changes, words):
    assert [problem[: len(words)] for problem in terms.noise_problems(config({**CENTRAL, **changes}))] == [words]
    assert terms.noise_problems(config(CENTRAL)) == []
    assert terms.noise_problems(config(EXAMPLE)) == []
