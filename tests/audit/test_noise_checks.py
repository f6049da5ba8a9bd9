"""The checks of noise: silent on what was claimed, and each planted fault fails the check that is there for it."""

import numpy as np
import pytest

from fedcomp.audit.noise_checks import check_noise
from fedcomp.crypto import SecretStream
from fedcomp.privacy.mechanism import ClippedSum, GaussianMechanism

ROUNDS, COORDINATES = 100, 400


def draw(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(ROUNDS, COORDINATES))


def failed(checks) -> set[str]:
    return {check.name for check in checks if not check.holds}


def test_silent_on_secret_noise_as_the_mechanism_adds_it():
    """Not seeded: a false alarm has probability 1e-6."""
    mechanism, rng = GaussianMechanism(0.5, 1.5), SecretStream()
    zero = ClippedSum.zero(mechanism, {"w": np.zeros(300)})
    rounds = np.stack([mechanism.noise(zero, rng).arrays["w"] for _ in range(40)])
    checks = check_noise(rounds, mechanism.noise_std)
    assert not failed(checks), checks
    assert "scale" in failed(check_noise(rounds, 2 * mechanism.noise_std))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9000), (300, 2), (2, 300), (50, 100)])
def test_silent_on_every_shape(shape, dtype):
    noise = np.random.default_rng(1).normal(size=shape).astype(dtype) * 3
    checks = check_noise(noise, 3.0)
    assert not failed(checks), checks
    assert failed(check_noise(noise, 3e3)) or noise.size == 1


def test_p_values_are_not_too_small():
    """200 matrices, seeded: shares below 0.1 and 0.01 within three standard errors of what they may be."""
    rng = np.random.default_rng(2)
    values = np.array([[c.p_value for c in check_noise(rng.normal(size=(20, 250)), 1.0)] for _ in range(200)])
    for level in (0.1, 0.01):
        assert ((values < level).mean(axis=0) <= level + 3 * np.sqrt(level * (1 - level) / 200)).all()


FAULTS = {
    "no noise": (lambda x: 0 * x, "scale"),
    "noise / 2": (lambda x: x / 2, "scale"),
    "noise x 0.95": (lambda x: 0.95 * x, "scale"),
    "noise / sqrt 2": (lambda x: x / np.sqrt(2), "scale"),
    "twice the noise": (lambda x: 2 * x, "scale"),
    "Laplace": (lambda x: np.random.default_rng(9).laplace(size=x.shape) / np.sqrt(2), "shape"),
    "uniform": (lambda x: np.random.default_rng(9).uniform(-np.sqrt(3), np.sqrt(3), size=x.shape), "shape"),
    "a mean": (lambda x: x + 0.05, "mean"),
    "two rounds alike": (lambda x: np.vstack([x[:-1], x[:1]]), "repeats"),
    "a round is another's half": (lambda x: np.vstack([x[:-1], x[:1] / -2]), "repeats"),
    "seed set anew": (lambda x: np.tile(x[:10], (10, 1)), "repeats"),
    "rounds share a part": (lambda x: 0.6 * x + 0.8 * x[:1], "rounds"),
    "two coordinates alike": (lambda x: np.hstack([x[:, :-1], x[:, :1]]), "coordinates"),
    "one number for all": (lambda x: np.repeat(x[:, :1], x.shape[1], axis=1), "coordinates"),
    "tiled block": (lambda x: np.tile(x[:, :100], (1, 4)), "lags"),
    "moving average": (lambda x: (x + np.roll(x, 1, axis=1)) / np.sqrt(2), "lags"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_its_check(name):
    fault, check = FAULTS[name]
    assert not failed(check_noise(draw(), 1.0))
    assert check in failed(check_noise(fault(draw()), 1.0))


def test_one_stream_that_starts_again_within_a_round():
    noise = np.random.default_rng(3).normal(size=20_000)
    assert failed(check_noise(np.concatenate([noise, noise[:3], noise])[None], 1.0)) == {"lags"}


def test_power_that_is_promised():
    """2e5 samples, 50 matrices each, seeded: x 0.9 and x 0.95 always, x 0.99 in most."""
    rng, found = np.random.default_rng(4), dict.fromkeys((0.9, 0.95, 0.99), 0)
    for _ in range(50):
        noise = rng.normal(size=(2, 100_000))
        total = float((noise**2).sum())
        for factor in found:
            # what check_noise does for "scale", without the rest
            z = (factor**2 * total / noise.size - 1) * np.sqrt(noise.size / 2)
            found[factor] += z < -5.26
    assert found[0.9] == found[0.95] == 50
    assert found[0.99] > 30
    assert "scale" in failed(check_noise(0.95 * noise, 1.0))


def test_refusals_name_what_is_wrong():
    good = draw()
    for samples, std, alpha, message in (
        (good[0], 1.0, 0.1, "samples must be a matrix"),
        (good[:0], 1.0, 0.1, "samples must be a matrix"),
        (good * np.nan, 1.0, 0.1, "samples must be finite"),
        (good, 0.0, 0.1, "noise_std must be finite and above 0"),
        (good, np.inf, 0.1, "noise_std must be finite and above 0"),
        (good, 1.0, 0.0, "alpha must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            check_noise(samples, std, alpha=alpha)
