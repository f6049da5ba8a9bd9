"""L0: one release replayed on neighboring data, with every draw the same, so that all that differs is one unit.

Deterministic: what is found here needs no statistics, and a difference of one part in a hundred thousand shows.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.releases import Floats, ReleaseCode
from fedcomp.rng import stream
from fedcomp.training import Draws

_HOW = "replay of the run's code with the same draws; exact up to 1e-5, no chance of error"
_SLACK = 1e-5
"""Of the bound: sums in float32 round another way once rows are grouped otherwise; a divisor changes by an eighth."""
_OTHERS = 7


class FixedNoise:
    """Hands out the same normal numbers in every replay, and remembers what was asked for."""

    def __init__(self, value: float | None = None) -> None:
        """Draw from a fixed stream, or always ``value``."""
        self._value, self._rng = value, stream(0, "audit", "noise")
        self.asked: list[tuple[int, ...]] = []

    def random(self, size: object = None) -> Floats:
        """Refuse: noise is normal."""
        raise RuntimeError("noise must be normal, got a call for uniform numbers")

    def standard_normal(self, size: tuple[int, ...] = (), dtype: type = np.float64) -> Floats:
        """Return the next numbers."""
        self.asked.append(tuple(np.atleast_1d(size)) if not isinstance(size, tuple) else size)
        if self._value is not None:
            return np.full(size, self._value, dtype)
        return self._rng.standard_normal(size).astype(dtype)


class FixedBatches:
    """Hands out uniform numbers that were decided unit by unit: 0 takes part, and the largest below 1 does not."""

    def __init__(self, taking_part: np.ndarray) -> None:
        self._uniform = np.where(taking_part, 0.0, 1 - 2**-53)
        self._at = 0

    def random(self, size: int = 1) -> Floats:
        """Return the next units' numbers."""
        self._at += size
        return self._uniform[self._at - size : self._at]

    def standard_normal(self, size: object = None, dtype: object = None) -> Floats:
        """Refuse: who takes part is drawn uniformly."""
        raise RuntimeError("batches must be drawn uniformly, got a call for normal numbers")


@dataclass
class _Replay:
    """Releases of one code under fixed draws."""

    code: ReleaseCode
    noise: float | None = 0.0
    calls: list[tuple[tuple[int, ...], ...]] = field(default_factory=list)

    def __call__(self, units: Floats, taking_part: np.ndarray | None = None) -> Floats:
        noise = FixedNoise(self.noise)
        who = np.ones(len(units), bool) if taking_part is None else taking_part
        released = self.code.observe(units, Draws(FixedBatches(who), noise))
        self.calls.append(tuple(noise.asked))
        return released


def replay(code: ReleaseCode) -> tuple[Finding, ...]:
    """Return what one release of ``code`` does with neighboring data.

    A check that raises an error is a finding like any other: an exception that depends on the data is a release.
    """
    checks: tuple[tuple[str, Callable[[ReleaseCode], tuple[bool, str]]], ...] = (
        (f"one {code.terms.unit} moves the sum by no more than the declared {code.terms.sensitivity:g}", _sensitivity),
        ("what does not take part changes nothing: no divisor, rate or step follows from how many there are", _absent),
        ("a unit that adds nothing (zero, NaN, infinite) changes nothing: no divisor follows from the batch", _empty),
        ("no unit and one unit take the same path: noise is added, and as often", _small_batches),
        ("the noise added is the declared one, as often as declared", _noise),
    )
    return tuple(judged("L0 replay", claim, *_tried(check, code), _HOW) for claim, check in checks)


def _tried(check: Callable[[ReleaseCode], tuple[bool, str]], code: ReleaseCode) -> tuple[bool, str]:
    try:
        return check(code)
    except Exception as error:  # whatever the audited code raises on some data and not on other
        return False, f"raised {type(error).__name__}: {error!s:.200}"


def _others(code: ReleaseCode) -> Floats:
    return stream(0, "audit", "others").standard_normal((_OTHERS, code.dimension))


def _extremes(code: ReleaseCode) -> Iterator[tuple[str, Floats]]:
    """Yield units that clipping is known to fail on, by name."""
    rng, bound = stream(0, "audit", "extremes"), code.terms.sensitivity
    direction = rng.standard_normal(code.dimension)
    direction /= np.linalg.norm(direction)
    last = np.zeros(code.dimension)
    last[-1] = 1.0
    first = np.zeros(code.dimension)
    first[0], first[-1] = 1.0, 1e-3
    yield "short", direction * bound / 2
    yield "at the bound", direction * bound * (1 - 1e-6)
    yield "long", direction * bound * 1e3
    yield "of length 1e6", direction * 1e6
    yield "along one coordinate", first * 1e6
    yield "equal parts in two arrays", (first + last) * 1e3 * bound
    yield "opposite", -direction * 1e3 * bound


def _sensitivity(code: ReleaseCode) -> tuple[bool, str]:
    run, others = _Replay(code), _others(code)
    without = run(others)
    moved = {name: float(np.linalg.norm(run(np.vstack([others, unit])) - without)) for name, unit in _extremes(code)}
    worst = max(moved, key=lambda name: moved[name])
    reached = max(moved.values()) >= 0.99 * code.terms.sensitivity  # else nothing was measured
    within = max(moved.values()) <= code.terms.sensitivity * (1 + _SLACK)
    return within and reached, f"at most {moved[worst]:.6g}, by a unit {worst}"


def _absent(code: ReleaseCode) -> tuple[bool, str]:
    if code.terms.sampling_probability == 1:
        return True, "everybody takes part: there is nobody absent"
    run, others = _Replay(code), _others(code)
    all_of_them = np.ones(len(others), bool)
    here = run(others, all_of_them)
    extra = [run(np.vstack([others, np.tile(others[:1], (n, 1))]), np.append(all_of_them, [False] * n)) for n in (1, 9)]
    difference = max(float(np.max(np.abs(each - here))) for each in extra)
    return difference <= _SLACK * code.terms.sensitivity, f"largest change {difference:.3g}"


def _empty(code: ReleaseCode) -> tuple[bool, str]:
    run, others = _Replay(code), _others(code)
    here = run(others)
    found = {}
    for name, value in (("zero", 0.0), ("NaN", np.nan), ("infinite", np.inf)):
        unit = np.full((1, code.dimension), value)
        found[name] = float(np.max(np.abs(run(np.vstack([others, unit])) - here)))
    worst = max(found, key=lambda name: np.nan_to_num(found[name], nan=np.inf))
    return found[worst] <= _SLACK * code.terms.sensitivity, f"largest change {found[worst]:.3g}, by a {worst} unit"


def _small_batches(code: ReleaseCode) -> tuple[bool, str]:
    run, others = _Replay(code, noise=None), _others(code)
    nobody = np.zeros(len(others), bool)
    releases = [run(others), run(others[:1]), run(others[:0])]
    if code.terms.sampling_probability < 1:
        releases.append(run(others, nobody))
    same = len(set(run.calls)) == 1
    finite = all(np.isfinite(each).all() for each in releases)
    noised = float(np.std(releases[2]))
    return same and finite and noised > 0, f"{len(run.calls[0])} draws of noise in each of {len(releases)} batches"


def _noise(code: ReleaseCode) -> tuple[bool, str]:
    run, others = _Replay(code, noise=1.0), _others(code)
    added = run(others) - _Replay(code)(others)
    low, high = float(added.min()) / code.terms.noise_std, float(added.max()) / code.terms.noise_std
    calls = len(run.calls[0])
    right = max(abs(low - 1), abs(high - 1)) <= 1e-4 and calls == code.terms.noise_calls
    return right, f"{low:.5f} to {high:.5f} of the declared {code.terms.noise_std:.6g}, in {calls} draws"
