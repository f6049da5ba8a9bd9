"""Lower bounds on epsilon from many independent calls of one release, with one unit and without it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from fedcomp.audit.gaussian_dp import TradeOff, epsilon_of_mu, gaussian_pair_mu, trade_off
from fedcomp.audit.intervals import clopper_pearson
from fedcomp.privacy.accounting import check_delta
from fedcomp.privacy.events import DpEvent

Floats = NDArray[np.float64]

ASSUMPTIONS = (
    "independent calls of the release, all with_ samples from one distribution and all without samples from another; "
    "epsilon_lower_bound moreover takes the release for one of Gaussian type (mu-GDP); epsilon_gaussian_pair takes "
    "both samples for normal; the violation of the profile assumes neither"
)
_CHOSEN = 0.2
_CHOICE = 1e-5  # error of the bounds that a threshold is chosen by
_THRESHOLDS = 400
_LEAST = 10


@dataclass(frozen=True)
class ProfileViolation:
    """At ``epsilon`` the event promises ``delta``; the test reached ``tpr >= exp(epsilon) fpr + delta + excess``."""

    epsilon: float
    delta: float
    excess: float


@dataclass(frozen=True)
class StepAudit:
    """What the calls prove. Each bound and the violation hold with ``confidence``, each by itself, not all at once.

    Attributes:
        epsilon_lower_bound: by the counted hits and false alarms of one threshold, if the release is mu-GDP for some
            mu: that of the largest mu that is certain.
        epsilon_gaussian_pair: by means and deviations, if the samples are normal.
        violation: where the privacy profile of the event is broken, whatever the distributions; None if it is not
            shown to be, or no event was given.
        tpr_low: of the threshold behind ``epsilon_lower_bound``, a lower bound at half the error.
        fpr_high: likewise an upper bound.
        num_without: samples, of which 80 % were judged.
        num_with: likewise.
        delta: at which both epsilons are.
        confidence: of each statement.
        assumptions: what the figures rest on.
    """

    epsilon_lower_bound: float
    epsilon_gaussian_pair: float
    violation: ProfileViolation | None
    tpr_low: float
    fpr_high: float
    num_without: int
    num_with: int
    delta: float
    confidence: float
    assumptions: str = ASSUMPTIONS


def step_audit(
    without: Floats,
    with_: Floats,
    delta: float,
    confidence: float,
    rng: np.random.Generator,
    event: DpEvent | None = None,
) -> StepAudit:
    """Return lower bounds on epsilon, and whether the privacy profile of ``event`` is broken.

    Thresholds (and whether scores above or below them accuse) are chosen on a random fifth of the samples and judged on
    the rest by Clopper-Pearson bounds, half of the error for each of the two rates (Nasr et al. 2023).

    Args:
        without: scalars ``[n]``, one for each independent call on the data without the unit.
        with_: scalars ``[m]``, one for each independent call on the data with it.
        delta: of the claim that the bounds are to be compared with.
        confidence: in (0, 1).
        rng: draws what is judged; may be seeded.
        event: what is claimed that one call is; its profile is then tested beside.

    Raises:
        ValueError: for NaN, infinity, fewer than ten samples, or a value out of range, naming it.
    """
    check_delta(delta)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")
    (chosen_out, judged_out), (chosen_in, judged_in) = (
        _parted(_samples(name, values), rng) for name, values in (("without", without), ("with_", with_))
    )
    alpha = 1 - confidence
    tests = [_Test(sign, chosen_out, chosen_in, alpha) for sign in (1.0, -1.0)]
    best = max(tests, key=lambda test: float(test.mu.max()))
    tpr, fpr = best.judge(int(np.argmax(best.mu)), judged_out, judged_in)
    mu = float(_mu(np.array([tpr]), np.array([fpr]))[0])
    pair = gaussian_pair_mu(best.sign * judged_out, best.sign * judged_in, alpha)
    return StepAudit(
        epsilon_lower_bound=epsilon_of_mu(max(mu, 0.0), delta),
        epsilon_gaussian_pair=epsilon_of_mu(pair, delta),
        violation=None if event is None else _violation(tests, judged_out, judged_in, trade_off([(event, 1)])),
        tpr_low=tpr,
        fpr_high=fpr,
        num_without=len(without),
        num_with=len(with_),
        delta=delta,
        confidence=confidence,
    )


def profile_violation(tpr_low: float, fpr_high: float, event: DpEvent) -> ProfileViolation | None:
    """Return where a test with these rates breaks the profile of ``event`` most, or None if it may have them.

    Under the event every test has ``tpr <= exp(epsilon) fpr + delta(epsilon)`` for every epsilon, and the same with
    the roles of the two data sets exchanged: ``1 - fpr <= exp(epsilon) (1 - tpr) + delta(epsilon)``. Nothing is
    assumed on the release but that the rates are bounds.

    Raises:
        ValueError: if a rate is not in [0, 1].
        UnsupportedEvent: for an event that the accountant cannot price.
    """
    for name, rate in (("tpr_low", tpr_low), ("fpr_high", fpr_high)):
        if not 0 <= rate <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {rate}")
    return _worst(tpr_low, fpr_high, trade_off([(event, 1)]))


class _Test:
    """Thresholds on one side of the scores, and what each of them promises by the samples chosen for choosing."""

    def __init__(self, sign: float, out: Floats, in_: Floats, alpha: float) -> None:
        self.sign, self.alpha = sign, alpha
        self.thresholds = _thresholds(sign * np.concatenate([out, in_]))
        self.hits, self.num_in = _above(sign * in_, self.thresholds), len(in_)
        self.alarms, self.num_out = _above(sign * out, self.thresholds), len(out)
        # by bounds far out: a far threshold with few alarms yet, by luck, looks best and is not
        self.mu = _mu(*self.bounds(_CHOICE))

    def bounds(self, alpha: float) -> tuple[Floats, Floats]:
        """Return the lower bound on hits and the upper one on false alarms at each threshold."""
        return clopper_pearson(self.hits, self.num_in, alpha)[0], clopper_pearson(self.alarms, self.num_out, alpha)[1]

    def judge(self, place: int, out: Floats, in_: Floats) -> tuple[float, float]:
        """Return the lower bound on hits and the upper one on false alarms at one threshold."""
        threshold = self.thresholds[place]
        hits, alarms = (np.array([np.count_nonzero(self.sign * scores > threshold)]) for scores in (in_, out))
        tpr, _ = clopper_pearson(hits, len(in_), self.alpha)
        _, fpr = clopper_pearson(alarms, len(out), self.alpha)
        return float(tpr[0]), float(fpr[0])


def _violation(tests: list[_Test], out: Floats, in_: Floats, curve: TradeOff) -> ProfileViolation | None:
    promised = [tpr - np.interp(fpr, curve.fpr, curve.tpr) for tpr, fpr in (test.bounds(test.alpha) for test in tests)]
    best = int(promised[1].max() > promised[0].max())
    return _worst(*tests[best].judge(int(np.argmax(promised[best])), out, in_), curve)


def _worst(tpr: float, fpr: float, curve: TradeOff) -> ProfileViolation | None:
    growth = np.exp(np.minimum(curve.epsilons, 700.0))
    excess = np.maximum(tpr - growth * fpr, 1 - fpr - growth * (1 - tpr)) - curve.deltas
    top = int(np.argmax(excess))
    if excess[top] <= 0:
        return None
    return ProfileViolation(float(curve.epsilons[top]), float(curve.deltas[top]), float(excess[top]))


def _mu(tpr: Floats, fpr: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # infinity minus infinity where a test accuses all or none
        return np.asarray(np.nan_to_num(ndtri(tpr) - ndtri(fpr), nan=-math.inf, posinf=-math.inf))


def _samples(name: str, values: Floats) -> Floats:
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or len(scores) < _LEAST:
        raise ValueError(f"{name} must be at least {_LEAST} samples [n], got {list(scores.shape)}")
    if not np.isfinite(scores).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    return scores


def _parted(scores: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    shuffled, count = rng.permutation(scores), int(_CHOSEN * len(scores))
    return shuffled[:count], shuffled[count:]


def _thresholds(scores: Floats) -> Floats:
    """Return at most 800 of the scores: evenly spread, and denser towards both ends."""
    ordered = np.unique(scores)
    count = len(ordered)
    near = np.geomspace(1, count, _THRESHOLDS // 2).astype(np.int64) - 1
    even = np.linspace(0, count - 1, _THRESHOLDS).astype(np.int64)
    return np.asarray(ordered[np.unique(np.concatenate([near, count - 1 - near, even]))])


def _above(scores: Floats, thresholds: Floats) -> NDArray[np.int64]:
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right"), dtype=np.int64)
