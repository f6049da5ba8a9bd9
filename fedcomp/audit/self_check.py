"""L5: the auditor audited. An audit that cannot find a fault proves nothing by finding none."""

import math

import numpy as np

from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.gaussian_dp import epsilon_of_mu
from fedcomp.audit.noise_checks import check_noise
from fedcomp.audit.step_bound import StepAudit, step_audit
from fedcomp.privacy import DpEvent, GaussianMechanism, PoissonSampler, epsilon
from fedcomp.rng import stream

TIGHT = 0.9
"""Share of the theory's epsilon that the bounds on one release have to reach, given canaries enough."""
_WIDTH, _USEFUL = 12.0, 0.3
"""Deviations that a bound at 99.999 % may be short by, chance included; and the least reach that is worth having."""
_DELTA = 1e-5
_ANCHORS = ((0.01, 1.0, 100, 0.718), (0.01, 1.0, 1000, 1.828), (256 / 60000, 1.1, 14100, 2.385))
"""Sampling probability, noise multiplier, steps, and epsilon by privacy loss distributions at delta 1e-5."""


def check_tightness(found: StepAudit, event: DpEvent, noise_multiplier: float) -> Finding:
    """Return whether the bounds on one release come near what its event costs: else they would miss a fault.

    Near is nine tenths, or what as many canaries can show under so much noise: the more noise, the less they can.
    """
    theory = epsilon([(event, 1)], found.delta)
    reach = min(TIGHT, 1 - _WIDTH * noise_multiplier * math.sqrt(2 / found.num_with))
    mean = (found.epsilon_lower_bound + found.epsilon_gaussian_pair) / (2 * theory)
    claim = "the bounds on one release reach what they can of what its event costs"
    measured = f"{mean:.1%} on average, expected at least {reach:.1%}"
    how = f"{found.num_with:,} canaries at {found.confidence:.3%} confidence"
    if reach < _USEFUL:
        return Finding("L5 auditor", claim, "not covered", f"{measured}: too few canaries for so much noise", how)
    return judged("L5 auditor", claim, mean >= reach, measured, how)


def check_planted(event: DpEvent, noise_multiplier: float, samples: int, confidence: float) -> Finding:
    """Return whether half the noise, and none of the effect, are told from the claim by the same bounds."""
    rng = stream(0, "audit", "planted")
    half, without = (scale * rng.standard_normal(samples) for scale in (noise_multiplier / 2, noise_multiplier))
    theory = epsilon([(event, 1)], _DELTA)
    found = step_audit(half, 1 + half[::-1], _DELTA, confidence, rng, event)
    nothing = step_audit(without, without[::-1].copy(), _DELTA, confidence, rng, event)
    noise = check_noise(half[: len(half) // 64 * 64].reshape(64, -1), noise_multiplier)
    caught = min(found.epsilon_lower_bound, found.epsilon_gaussian_pair) > theory and found.violation is not None
    silent = max(nothing.epsilon_lower_bound, nothing.epsilon_gaussian_pair) < 0.2 * theory
    return judged(
        "L5 auditor",
        "half the noise is found, and where there is no effect none is",
        caught and silent and any(not check.holds for check in noise),
        f"half the noise: {found.epsilon_lower_bound:.3f} against {theory:.3f}; no effect: "
        f"{nothing.epsilon_lower_bound:.3f}",
        f"simulated with a fixed seed, {samples:,} samples",
    )


def check_accounting() -> Finding:
    """Return whether the accountant gives known answers: the closed form of Gaussians, and published compositions."""
    off = []
    for noise, count in ((1.0, 1), (4.0, 16), (2.0, 300)):
        event = GaussianMechanism(1.0, noise).event
        exact, found = epsilon_of_mu(math.sqrt(count) / noise, _DELTA), epsilon([(event, count)], _DELTA)
        off.append(found / exact - 1)
    for rate, noise, steps, known in _ANCHORS:
        whole = epsilon([(PoissonSampler(0, rate, steps).event(noise), 1)], _DELTA)
        apart = epsilon([(PoissonSampler(0, rate, 1).event(noise), steps)], _DELTA)
        off += [whole / known - 1, apart / known - 1]
    worst = off[int(np.argmax(np.abs(off)))]
    return judged(
        "L5 auditor",
        "the accountant gives the known epsilon of known compositions",
        abs(worst) < 5e-3,
        f"{len(off)} compositions, {worst:+.3%} off at most",
        "closed form for Gaussians (Dong, Roth and Su 2022); known values of Poisson-sampled ones",
    )
