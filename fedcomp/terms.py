"""The terms of a run's privacy, as they follow from its config: unit, event of a round, bound, noise, public divisor.

Mode ``local`` protects examples on the client. Mode ``central`` trusts the server with what clients send and adds the
noise there: with unit ``client`` each update is clipped, on the client and again once it is decoded; with unit
``example`` a client sends its sum of clipped gradients of one Poisson batch, and the server cannot clip it again.
"""

import numpy as np
from numpy.typing import NDArray

from fedcomp.config import Config
from fedcomp.crypto import SecretStream
from fedcomp.privacy import (
    AdaptiveClip,
    CohortSampler,
    DpEvent,
    GaussianMechanism,
    PoissonSampler,
    calibrate_noise_multiplier,
)
from fedcomp.rng import stream

BUILT_MODES = ("none", "local", "central")


def by_example(config: Config) -> bool:
    """Return whether what is protected is one example of a client, not the client."""
    return config.privacy.mode != "none" and config.privacy.unit == "example"


def cohort_sampler(config: Config) -> CohortSampler:
    """Return what draws the clients of a round, and knows what that is worth."""
    clients = config.clients
    return CohortSampler(clients.population, clients.sampling, None if clients.sampling == "all" else clients.cohort)


def draw_cohort(config: Config, number: int) -> NDArray[np.int64]:
    """Return the indices of the clients of round ``number``: by a secret draw where that is claimed to amplify.

    Sampling amplifies only while nobody knows who was drawn; the seed of the config is known to every client.
    """
    sampler = cohort_sampler(config)
    if config.privacy.mode == "central" and sampler.amplification == "poisson":
        return sampler.chosen(SecretStream())
    return sampler.cohort(stream(config.seed, "cohort", number))


def round_event(config: Config) -> DpEvent | None:
    """Return the event of one round for the unit that is protected; None without a claim or without noise decided."""
    privacy = config.privacy
    if privacy.mode == "none" or privacy.noise_multiplier is None:
        return None
    if not by_example(config):
        return cohort_sampler(config).event(privacy.noise_multiplier)
    steps = config.training.local_steps or 1
    return PoissonSampler(0, privacy.sampling_probability, steps).event(privacy.noise_multiplier)


def bound(config: Config) -> float:
    """Return the L2 norm by which one unit may move what the noise is added to, in the first round if it moves."""
    return config.privacy.max_grad_norm if by_example(config) else config.privacy.clipping_norm


def expected_clients(config: Config) -> int:
    """Return the public number of clients that are expected in a round."""
    return config.clients.cohort or config.clients.population


def adaptive_clip(config: Config) -> AdaptiveClip | None:
    """Return how the bound on clients' updates moves; None where it is fixed."""
    privacy, expected = config.privacy, expected_clients(config)
    if privacy.mode != "central" or by_example(config) or privacy.clipping_quantile is None:
        return None
    noise = expected / 20 if privacy.clipping_bit_noise is None else privacy.clipping_bit_noise
    return AdaptiveClip(privacy.clipping_norm, privacy.clipping_quantile, privacy.clipping_rate, noise, expected)


def server_mechanism(config: Config, clipping_norm: float | None = None) -> GaussianMechanism:
    """Return what the server clips with and adds noise by under mode ``central``; noise must be decided.

    ``clipping_norm`` is the round's bound where that moves. The noise on the sum is larger then, because the clients'
    bits take a part of what the round's event covers.
    """
    noise, adaptive = config.privacy.noise_multiplier, adaptive_clip(config)
    if noise is None:
        raise ValueError("noise_multiplier: expected a number by now, got none")
    multiplier = noise if adaptive is None else adaptive.noise_on_sum(noise)
    return GaussianMechanism(bound(config) if clipping_norm is None else clipping_norm, multiplier)


def server_factor(config: Config) -> float:
    """Return what the noised sum is multiplied by under mode ``central``: public constants alone.

    The mean over the expected cohort; of gradients, the step down that of all clients' expected batch.
    """
    clients, privacy = config.clients, config.privacy
    if not by_example(config):
        return 1.0 / expected_clients(config)
    batch = privacy.sampling_probability * (privacy.nominal_examples or 0) * clients.population
    return -config.training.learning_rate / batch


def noise_multiplier(config: Config) -> float | None:
    """Return the noise multiplier that is given, or the least that keeps the whole run within its target."""
    privacy = config.privacy
    if privacy.mode == "none" or privacy.noise_multiplier is not None or privacy.target_epsilon is None:
        return privacy.noise_multiplier
    rounds, target, delta = config.rounds, privacy.target_epsilon, privacy.delta
    if by_example(config):
        steps = rounds * (config.training.local_steps or 1)
        return calibrate_noise_multiplier(target, delta, privacy.sampling_probability, steps)
    sampler = cohort_sampler(config)
    probability = sampler.sampling_probability if sampler.amplification == "poisson" else 1.0
    return sampler.moves * calibrate_noise_multiplier(target, delta, probability, rounds)


def problems(config: Config) -> list[str]:
    """Return every reason why these terms cannot be claimed, each with its key."""
    privacy = config.privacy
    if privacy.mode == "none":
        return []
    if privacy.mode not in BUILT_MODES:
        return [f"privacy.mode: expected one of {list(BUILT_MODES)} in this version, got {privacy.mode!r}"]
    found = []
    if privacy.target_epsilon is None and privacy.noise_multiplier is None:
        found.append(
            f"privacy.target_epsilon: expected it or privacy.noise_multiplier under mode {privacy.mode}, got neither"
        )
    if privacy.noise_multiplier == 0:
        found.append(
            f"privacy.noise_multiplier: expected more than 0 under mode {privacy.mode}, got 0: nothing is claimed"
        )
    if privacy.mode == "local" and privacy.unit == "client":
        found.append("privacy.unit: expected 'example' under mode local (mode central protects clients), got 'client'")
    if privacy.clipping_headroom != 1 and (privacy.mode != "central" or by_example(config)):
        found.append(
            "privacy.clipping_headroom: expected 1 but under mode central with unit client, where the server clips "
            f"again, got {privacy.clipping_headroom:g}"
        )
    if privacy.clipping_quantile is not None and (privacy.mode != "central" or by_example(config)):
        found.append("privacy.clipping_quantile: expected none but under mode central with unit client, got one")
    return found + (_of_examples(config) if by_example(config) else _of_clients(config))


def noise_problems(config: Config) -> list[str]:
    """Return why no noise keeps these terms; to be asked once everything else is known to fit."""
    privacy = config.privacy
    try:
        noise = noise_multiplier(config)
    except ValueError as error:
        return [f"privacy.target_epsilon: {error}"]
    if privacy.mode != "central" or noise is None:
        return []
    adaptive = adaptive_clip(config)
    try:
        on_sum = noise if adaptive is None else adaptive.noise_on_sum(noise)
    except ValueError as error:
        return [f"privacy.clipping_bit_noise: {error}"]
    try:
        GaussianMechanism(bound(config), on_sum)
    except ValueError as error:
        return [f"privacy.noise_multiplier: {error}"]
    return []


def _of_clients(config: Config) -> list[str]:
    clients, delta = config.clients, config.privacy.delta
    found = []
    if delta * clients.population >= 1:
        share = 1 / clients.population
        found.append(f"privacy.delta: expected less than 1 / clients.population = {share:.2g}, got {delta:g}")
    return found


def _of_examples(config: Config) -> list[str]:
    found, privacy, settings = [], config.privacy, config.training
    central = privacy.mode == "central"
    where = f"mode {privacy.mode}" + (" with unit example" if central else "")
    if privacy.nominal_examples is None:
        found.append(f"privacy.nominal_examples: expected a public constant under {where}, got none")
    elif privacy.delta * privacy.nominal_examples * (config.clients.population if central else 1) >= 1:
        units = privacy.nominal_examples * (config.clients.population if central else 1)
        found.append(
            f"privacy.delta: expected less than 1 / (examples that one account covers) = {1 / units:.2g}, "
            f"got {privacy.delta:g}"
        )
    if settings.local_epochs is not None:
        found.append(
            f"training.local_epochs: expected local_steps under {where} (the number of steps must not "
            f"follow from how many examples a client holds), got {settings.local_epochs}"
        )
    if settings.momentum:
        found.append(
            f"training.momentum: expected 0 under {where} (use server.momentum, which is free), "
            f"got {settings.momentum:g}"
        )
    if central and settings.local_steps not in (None, 1):
        found.append(
            f"training.local_steps: expected 1 under {where} (noise is added once a round, to the sum of one batch), "
            f"got {settings.local_steps}"
        )
    if central and config.clients.sampling != "all":
        found.append(
            f"clients.sampling: expected 'all' under {where} (examples are sampled, by privacy.sampling_probability), "
            f"got {config.clients.sampling!r}"
        )
    return found
