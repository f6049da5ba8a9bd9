"""Lower bounds on epsilon from one training run with canaries in it, each with what it assumes.

Every canary is a unit whose clipped contribution is one of m orthonormal directions, put in by the toss of a coin. What
is observed of it is the release of each round along its direction, in units of the bound, less the known part of the
data; so it is noise, plus 1 where the canary was in the batch.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fedcomp.audit.gaussian_dp import epsilon_of_mu, gaussian_pair_mu, mu_of_epsilon, trade_off
from fedcomp.audit.one_run_guesses import (
    Guesses,
    NoiseFamily,
    epsilon_by_count,
    guess,
    planned_for_curve,
    planned_guesses,
    refutes,
)
from fedcomp.privacy.accounting import check_delta, epsilon
from fedcomp.privacy.events import DpEvent, flatten

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Score = Literal["likelihood", "sum"]

COUNT_ASSUMES = (
    "canaries put in by independent fair coins; nothing on the mechanism: what is refuted is (epsilon, delta)-DP of "
    "whatever was run (Steinke, Nasr and Jagielski 2023)"
)
CURVE_ASSUMES = (
    "canaries put in by independent fair coins; the refutation of the claim assumes nothing else, the epsilon assumes "
    "the claimed mechanism with all noise multipliers scaled by one factor (Mahloujifar, Melis and Chaudhuri 2024)"
)
PAIR_ASSUMES = (
    "sums of what is observed are normal and independent over canaries, with one mean and deviation for those held in "
    "and one for those held out; independence of the noise is what the noise checks test"
)
_UNLIKELY = 1e-9


@dataclass(frozen=True)
class OneRunBound:
    """An epsilon that what was run exceeds, with error ``alpha``, under ``assumptions``; infinite without any noise.

    ``refuted`` says that the claim is: by the claim's own trade-off curve for ``f_dp``, by a bound above the claimed
    epsilon for the others. ``num_guesses`` and ``num_correct`` are 0 where nothing is guessed.
    """

    epsilon_lower_bound: float
    refuted: bool
    num_guesses: int
    num_correct: int
    assumptions: str


@dataclass(frozen=True)
class OneRunAudit:
    """Three bounds on the same run. Each errs with ``alpha``; a verdict by any of the three errs with up to 3 alpha."""

    count: OneRunBound
    f_dp: OneRunBound
    gaussian_pair: OneRunBound
    epsilon_claimed: float
    num_canaries: int
    num_held_in: int
    delta: float
    alpha: float
    score: Score


def audit_one_run(
    observed: Floats,
    held_in: Bools,
    events: Iterable[tuple[DpEvent, int]],
    *,
    sampling_probability: float,
    noise_multiplier: float,
    delta: float,
    rng: np.random.Generator,
    alpha: float = 0.05,
    score: Score = "likelihood",
) -> OneRunAudit:
    """Return what the run proves against the claim that ``events`` are all that happened to one canary.

    Args:
        observed: ``[rounds, m]`` along each canary's direction, in units of the bound; one row, if only the final model
            was looked at (``score`` is ``sum`` then).
        held_in: ``[m]``, which canaries the coins put in.
        events: the claim, as the ledger has it.
        sampling_probability: of one round, for the score alone; a wrong one costs power, not validity.
        noise_multiplier: likewise.
        delta: of the claim.
        rng: breaks ties; may be seeded.
        alpha: error of each bound.
        score: ``likelihood`` ranks canaries by ``canary_scores``, ``sum`` by the sum over rounds.

    Raises:
        ValueError: for shapes that do not fit, NaN, coins that cannot be fair, or a value out of range.
        UnsupportedEvent: for an event that the accountant cannot price.
    """
    _check(observed, held_in, alpha, score)
    check_delta(delta)
    counts = flatten(events)
    claimed, canaries = epsilon(counts.items(), delta), len(held_in)
    sums = observed.sum(axis=0)
    if score == "likelihood":
        confidence = canary_scores(observed, sampling_probability, noise_multiplier)
    else:
        confidence = sums - (np.median(sums) if canaries else 0.0)
    if canaries:
        by_count, by_curve = _guessed(confidence, held_in, counts, claimed, delta, alpha, rng)
    else:
        by_count, by_curve = OneRunBound(0.0, False, 0, 0, COUNT_ASSUMES), OneRunBound(0.0, False, 0, 0, CURVE_ASSUMES)
    pair = epsilon_of_mu(gaussian_pair_mu(sums[~held_in], sums[held_in], alpha), delta)
    return OneRunAudit(
        count=by_count,
        f_dp=by_curve,
        gaussian_pair=OneRunBound(pair, pair > claimed, 0, 0, PAIR_ASSUMES),
        epsilon_claimed=claimed,
        num_canaries=canaries,
        num_held_in=int(held_in.sum()),
        delta=delta,
        alpha=alpha,
        score=score,
    )


def canary_scores(observed: Floats, sampling_probability: float, noise_multiplier: float) -> Floats:
    """Return the log-likelihood ratio ``[m]`` of in over out, if the claim is what happened.

    ``sum_t log(1 - q + q exp((x_t - 1/2) / sigma^2))`` with x ``[rounds, m]`` in units of the bound: the best test
    there is (Neyman and Pearson), computed so that no exponential overflows.

    Raises:
        ValueError: if a parameter is out of range.
    """
    if not 0 < sampling_probability <= 1:
        raise ValueError(f"sampling_probability must be in (0, 1], got {sampling_probability}")
    if not (math.isfinite(noise_multiplier) and noise_multiplier > 0):
        raise ValueError(f"noise_multiplier must be finite and above 0, got {noise_multiplier}")
    total = np.zeros(observed.shape[1])
    stay = math.log1p(-sampling_probability) if sampling_probability < 1 else -math.inf
    for row in observed:  # by rounds, so that no second matrix is held
        total += np.logaddexp(stay, math.log(sampling_probability) + (row - 0.5) / noise_multiplier**2)
    return total


def _guessed(
    confidence: Floats,
    held_in: Bools,
    counts: Mapping[DpEvent, int],
    claimed: float,
    delta: float,
    alpha: float,
    rng: np.random.Generator,
) -> tuple[OneRunBound, OneRunBound]:
    canaries, curve = len(held_in), trade_off(counts.items())

    def by_count(guesses: Guesses) -> float:
        return epsilon_by_count(guesses, canaries, delta, alpha)

    found = guess(confidence, held_in, planned_guesses(canaries, curve, by_count), rng)
    bound = by_count(found)
    first = OneRunBound(bound, bound > claimed, found.made, found.correct, COUNT_ASSUMES)
    # nothing that the curve can refute, or everything: any plan will do
    plain = not 0 < claimed < math.inf
    mu = 1.0 if plain else mu_of_epsilon(claimed, delta)
    found = guess(confidence, held_in, planned_for_curve(canaries, curve, mu, alpha), rng)
    refuted = refutes(found, canaries, curve, alpha)
    bound = NoiseFamily(counts, delta).epsilon_by_curve(found, canaries, alpha)
    # the grids of the family and of the claim differ in the last digits; what decides is the claim's own curve
    bound = max(bound, claimed) if refuted else min(bound, claimed)
    return first, OneRunBound(bound, refuted, found.made, found.correct, CURVE_ASSUMES)


def _check(observed: Floats, held_in: Bools, alpha: float, score: str) -> None:
    if observed.ndim != 2 or len(observed) < 1:
        raise ValueError(f"observed must be [rounds, canaries], at least one round, got {list(observed.shape)}")
    if held_in.dtype != np.bool_ or held_in.shape != observed.shape[1:]:
        raise ValueError(f"held_in must be {observed.shape[1]} booleans, got {held_in.dtype} {list(held_in.shape)}")
    if not np.isfinite(observed).all():
        raise ValueError("observed must be finite, got NaN or infinity")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if score not in ("likelihood", "sum"):
        raise ValueError(f"score must be 'likelihood' or 'sum', got {score!r}")
    count, number = int(held_in.sum()), len(held_in)
    if 2 * stats.binom.cdf(min(count, number - count), number, 0.5) < _UNLIKELY:
        raise ValueError(f"held_in must be the tosses of a fair coin, got {count} of {number} held in")
