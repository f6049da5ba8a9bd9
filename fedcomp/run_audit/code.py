"""The audit of the code that a run uses, by the run's own terms: replay, components, and bounds that canaries prove.

Nothing here reads the run's data: units are made up, and go through the code that clients and server run. What is shown
is that this code does what the ledger is charged for; that it was this code which ran, nobody can show afterwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcomp import training
from fedcomp.aggregation import PrivateSum
from fedcomp.audit.booked import check_adaptive, check_booked, check_secret_cohorts
from fedcomp.audit.client_release import ClientRelease
from fedcomp.audit.example_releases import LocalRelease, SummedRelease, apart
from fedcomp.audit.finding import Finding, Layer, judged
from fedcomp.audit.model_replay import made_up_split, replay_model
from fedcomp.audit.noise_checks import NoiseCheck, check_noise
from fedcomp.audit.one_run import OneRunAudit, audit_one_run
from fedcomp.audit.releases import ReleaseCode
from fedcomp.audit.replay import replay
from fedcomp.audit.sampling_checks import check_inclusions
from fedcomp.audit.self_check import check_accounting, check_planted, check_tightness
from fedcomp.audit.step_bound import step_audit
from fedcomp.crypto import SecretStream
from fedcomp.plan import Plan
from fedcomp.privacy import DpEvent, GaussianMechanism, PrivacySpent, epsilon
from fedcomp.rng import stream
from fedcomp.terms import adaptive_clip, by_example, cohort_sampler, draw_cohort
from fedcomp.training.clipping import ClippingEngine

Floats = NDArray[np.float64]
Say = Callable[[str], None]

CONFIDENCE = 1 - 1e-5
"""Of each verdict: an audit gives a handful, its canaries are secret, and a sound run should pass every time."""


@dataclass(frozen=True)
class Effort:
    """How much is drawn: more finds smaller faults."""

    noise_releases: int
    noise_dimension: int
    sampled_releases: int
    sampled_units: int
    step_releases: int
    """At least; more where there is more noise, up to four times as many."""
    step_canaries: int
    canaries: int


_SAMPLES_FOR_NOISE_OF_1 = 40_000
"""With so many the bounds on one release come within a tenth of the theory's; it takes their square of the noise."""
_MOVED_BY_ONE_CLIENT = {"all": 1.0, "bernoulli": 1.0, "fixed": 2.0}
"""Bounds that the sum moves by if one registered client is there or not; a cohort of a fixed size takes another in."""

FULL = Effort(128, 4097, 300, 1000, 1000, 1000, 5000)
QUICK = Effort(64, 4097, 200, 500, 500, 1000, 1000)


def release_code(plan: Plan, dimension: int) -> ReleaseCode:
    """Return the run's code for one release, on units of so many coordinates.

    Raises:
        ValueError: if the plan claims no privacy.
    """
    privacy, aggregator = plan.config.privacy, plan.aggregator
    if privacy.mode == "local" and privacy.nominal_examples is not None and privacy.noise_multiplier is not None:
        return LocalRelease(
            dimension,
            privacy.sampling_probability,
            privacy.nominal_examples,
            privacy.max_grad_norm,
            privacy.noise_multiplier,
            engine_of(plan),
        )
    if not plan.central or not isinstance(aggregator, PrivateSum):
        raise ValueError(f"expected a plan that claims privacy, got mode {privacy.mode}")
    if by_example(plan.config):
        probability, bound = privacy.sampling_probability, privacy.max_grad_norm
        return SummedRelease(dimension, probability, bound, aggregator, engine_of(plan))
    return ClientRelease(dimension, cohort_sampler(plan.config), aggregator)


def engine_of(plan: Plan) -> type[ClippingEngine]:
    """Return the engine that clips the run's model on its clients."""
    rows = plan.task.train()
    return training.choose_engine(plan.task.model(plan.model_seed()), plan.task.loss, rows.inputs, rows.targets).engine


def audit_replay(plan: Plan) -> tuple[Finding, ...]:
    """L0: one release on neighboring data, and the run's own model where examples are protected."""
    code = release_code(plan, 65)
    if isinstance(code, ClientRelease):
        whole = replay(ClientRelease(code.dimension, code.sampler, code.aggregator, plan.uplink))
        return (*whole, *_client_terms(plan, code))
    booked = check_booked(
        plan.round_event,
        [code.terms.noise_std / code.terms.sensitivity],
        code.terms.sampling_probability,
        1 if plan.central else plan.local_steps,
    )
    task, module, bound = plan.task, plan.task.model(plan.model_seed()), plan.config.privacy.max_grad_norm
    rows = made_up_split(task, module, 6)
    return (*replay(code), booked, *replay_model(module, task.loss, rows, bound, engine_of(plan), task.padding))


def _client_terms(plan: Plan, code: ClientRelease) -> tuple[Finding, ...]:
    terms, sampler, clip = code.terms, code.sampler, adaptive_clip(plan.config)
    moved = _MOVED_BY_ONE_CLIENT[sampler.kind] * terms.sensitivity
    bits = [2 * clip.bit_noise] if clip else []
    found = [check_booked(plan.round_event, [terms.noise_std / moved, *bits], terms.sampling_probability, 1)]
    if terms.sampling_probability < 1:
        rate, population = terms.sampling_probability, sampler.population
        found.append(check_secret_cohorts(lambda number: draw_cohort(plan.config, number), rate, population))
    return (*found, *([check_adaptive(clip)] if clip else []))


def audit_components(plan: Plan, effort: Effort) -> tuple[Finding, ...]:
    """L1: the noise that is really drawn, and who really takes part."""
    code = release_code(plan, effort.noise_dimension)
    nothing = np.zeros((0, effort.noise_dimension))
    noise = np.stack(list(code.many(nothing, effort.noise_releases)))
    said = f"the noise is independent and normal with the declared deviation of {code.terms.noise_std:.6g}"
    included = np.stack([code.sampled(effort.sampled_units) for _ in range(effort.sampled_releases)])
    rate = code.terms.sampling_probability
    how = f"each {code.terms.unit} takes part independently with probability {rate:g}" if rate < 1 else "all take part"
    return (
        _components(said, check_noise(noise, code.terms.noise_std), f"{noise.size:,} samples of the run's code"),
        _components(
            f"sampling: {how}", check_inclusions(included, rate), f"{len(included)} draws of {included.shape[1]} units"
        ),
    )


def _components(claim: str, checks: tuple[NoiseCheck, ...], what: str) -> Finding:
    broken = [check for check in checks if not check.holds]
    measured = f"{what}; " + (
        f"{broken[0].name}: {broken[0].detail}"
        if broken
        else f"{len(checks)} tests hold, least p-value {min(check.p_value for check in checks):.2g}"
    )
    how = "statistics of secret draws; all together wrong once in a million audits of a sound run"
    return judged("L1 components", claim, not broken, measured, how)


def step_event(plan: Plan) -> DpEvent:
    """Return the event of one release for a unit that takes part, as declared."""
    terms = release_code(plan, 2).terms
    return GaussianMechanism(terms.sensitivity, terms.noise_std / terms.sensitivity).event


def audit_step(plan: Plan, effort: Effort) -> tuple[Finding, ...]:
    """L2: what thousands of calls of one release prove, with a canary on every coordinate and without.

    With it comes a finding on the auditor: whether what was proven is near enough to what is true.
    """
    count = effort.step_canaries
    code = release_code(plan, count + 1).unsampled()
    bound, noise = code.terms.sensitivity, code.terms.noise_std / code.terms.sensitivity
    wanted = math.ceil(_SAMPLES_FOR_NOISE_OF_1 * noise**2 / count)
    calls = min(max(effort.step_releases, wanted), 4 * effort.step_releases)
    without, with_ = (
        np.concatenate([each[:count] / bound for each in code.many(units, calls)])
        for units in (np.zeros((0, count + 1)), apart(count, 1e4 * bound))
    )
    event, delta = step_event(plan), plan.config.privacy.delta
    found = step_audit(without, with_, delta, CONFIDENCE, stream(plan.config.seed, "audit", "step"), event)
    theory = epsilon([(event, 1)], delta)
    within = max(found.epsilon_lower_bound, found.epsilon_gaussian_pair) <= theory and found.violation is None
    measured = (
        f"{len(with_):,} canaries prove {found.epsilon_lower_bound:.3f} (counted) and "
        f"{found.epsilon_gaussian_pair:.3f} (normal pair) of {theory:.3f}"
    )
    claim = f"one release costs one {code.terms.unit} that takes part no more than its event: {theory:.3f}"
    how = f"canaries on {count:,} coordinates in each call, {CONFIDENCE:.3%} confidence; assumes {found.assumptions}"
    return judged("L2 bounds", claim, within, measured, how), check_tightness(found, event, noise)


def audit_auditor(plan: Plan, effort: Effort) -> tuple[Finding, ...]:
    """L5: whether the same bounds find a planted fault, and whether the accountant gives known answers."""
    terms = release_code(plan, 2).terms
    samples = min(effort.step_releases * effort.step_canaries, 200_000)
    planted = check_planted(step_event(plan), terms.noise_std / terms.sensitivity, samples, CONFIDENCE)
    return planted, check_accounting()


def audit_canaries(plan: Plan, effort: Effort, spent: PrivacySpent, rounds: int) -> tuple[Finding, ...]:
    """L2: what one training proves by its canaries, each put in or not by the toss of a coin.

    As many releases are made as the account that spent most was charged for, and each of them is seen.
    """
    observed, held_in, code = canary_releases(plan, effort.canaries, _releases(plan, rounds))
    event = plan.round_event
    if event is None:
        raise ValueError("canaries need the event of a round, got none")

    def audited(alpha: float) -> OneRunAudit:
        return audit_one_run(
            observed,
            held_in,
            [(event, rounds)],
            sampling_probability=code.terms.sampling_probability,
            noise_multiplier=code.terms.noise_std / code.terms.sensitivity,
            delta=spent.delta,
            rng=stream(plan.config.seed, "audit", "canaries"),
            alpha=alpha,
        )

    verdict, estimate = audited(1 - CONFIDENCE), audited(0.05)
    names = {
        "count": "guesses counted (Steinke, Nasr and Jagielski 2023)",
        "f_dp": "trade-off curve (Mahloujifar, Melis and Chaudhuri 2024)",
        "gaussian_pair": "normal pair",
    }
    return tuple(
        judged(
            "L2 bounds",
            f"canaries in one training prove no more than epsilon = {spent.epsilon:.3f}, by {name}",
            not getattr(verdict, key).refuted,
            f"{effort.canaries:,} canaries, {len(observed)} releases: at least "
            f"{getattr(estimate, key).epsilon_lower_bound:.3f} at 95 % confidence",
            f"verdict at {CONFIDENCE:.3%} confidence; assumes {getattr(verdict, key).assumptions}",
        )
        for key, name in names.items()
    )


def _releases(plan: Plan, rounds: int) -> int:
    return rounds * (plan.local_steps if plan.config.privacy.mode == "local" else 1)


def canary_releases(plan: Plan, canaries: int, releases: int) -> tuple[Floats, NDArray[np.bool_], ReleaseCode]:
    """Return what releases show of canaries ``[releases, canaries]``, in units of the bound, who was in, and the code.

    Each canary has a coordinate of its own and is put in with probability one half, by a secret draw.
    """
    code = release_code(plan, canaries + 1)
    put_in = SecretStream().random(canaries) < 0.5
    units = apart(canaries, 1e4 * code.terms.sensitivity)[put_in]
    seen = np.stack([each[:canaries] for each in code.many(units, releases)])
    return seen / code.terms.sensitivity, put_in, code


def audit_code(plan: Plan, effort: Effort, spent: PrivacySpent, rounds: int, say: Say) -> tuple[Finding, ...]:
    """Return all that can be shown of the code by the terms of ``plan``: L0, L1, L2, and the auditor's own checks.

    Args:
        plan: of a run that claims privacy.
        effort: how much to draw.
        spent: what the account that spent most has spent.
        rounds: how many were charged to it.
        say: is told what is being done.
    """
    stages: tuple[tuple[str, Layer, Callable[[], tuple[Finding, ...]]], ...] = (
        ("replaying a release on neighboring data", "L0 replay", lambda: audit_replay(plan)),
        ("drawing noise and batches", "L1 components", lambda: audit_components(plan, effort)),
        ("bounding one release by canaries", "L2 bounds", lambda: audit_step(plan, effort)),
        ("bounding the training by canaries", "L2 bounds", lambda: audit_canaries(plan, effort, spent, max(rounds, 1))),
        ("auditing the auditor", "L5 auditor", lambda: audit_auditor(plan, effort)),
    )
    found: list[Finding] = []
    for what, layer, stage in stages:
        say(what)
        found += _guarded(what, layer, stage)
    return tuple(found)


def _guarded(what: str, layer: Layer, stage: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    try:
        return stage()
    except Exception as error:  # code that fails on some data, and not on other, tells which it was
        raised = f"{type(error).__name__}: {error!s:.200}"
        return (judged(layer, f"the code gets through: {what}", False, raised, "units that the auditor makes up"),)
