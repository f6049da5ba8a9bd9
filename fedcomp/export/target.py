"""What the small model has to reach, and which of the measured candidates does.

A limit on the accuracy lost is one on the mean over the rows to judge by, as measured. Two things follow. The mean is
not the end of its interval: a candidate that keeps the limit may lose more on other rows, and one that does not may
lose less. And the chosen one was chosen by the rows that its loss is stated on, so that the loss flatters: of many
candidates the fastest are those that chance was kind to. ``Choice.interval`` makes allowance for that: it is as wide as
it takes for the intervals of all candidates to hold at once. What was tried later because of what came first is counted
as one candidate more, though it could have been another; that part of the allowance is an approximation.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedcomp.errors import ConfigError
from fedcomp.export.candidate import Measured
from fedcomp.export.paired import widened

_UNITS = {"latency": {"ms": 1.0, "us": 1e-3, "s": 1e3}, "size": {"B": 1.0, "KB": 1e3, "MB": 1e6}, "accuracy_loss": {}}
_NUMBER = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Target:
    """Limits on the small model; None sets none.

    ``latency_ms`` for one batch on this machine, ``bytes`` of its file, ``accuracy_loss`` in points below the dense
    model on the same public rows.
    """

    latency_ms: float | None = None
    bytes: float | None = None
    accuracy_loss: float | None = None

    def passed(self, found: Measured) -> bool:
        """Return whether a candidate keeps every limit."""
        limits = ((self.latency_ms, found.latency_ms), (self.bytes, found.bytes))
        return self.accurate(found) and all(limit is None or value <= limit for limit, value in limits)

    def accurate(self, found: Measured) -> bool:
        """Return whether a candidate loses no more accuracy than it may."""
        return self.accuracy_loss is None or found.accuracy_loss <= self.accuracy_loss

    def surely_accurate(self, found: Measured) -> bool:
        """Return whether the rows show that: whether the whole interval of what is lost keeps the limit."""
        return self.accuracy_loss is None or found.loss_interval[1] <= self.accuracy_loss

    def sentence(self, data: str = "public") -> str:
        """Return the limits in words; ``data`` says whose rows accuracy is measured on."""
        lost = "points of disagreement on made-up rows" if data == "synthetic" else "points lost"
        parts = [
            f"latency at most {self.latency_ms:g} ms" if self.latency_ms is not None else "",
            f"file at most {self.bytes:,.0f} bytes" if self.bytes is not None else "",
            f"at most {self.accuracy_loss:g} {lost}" if self.accuracy_loss is not None else "",
        ]
        return ", ".join(filter(None, parts)) or "no limit"


DEFAULT = Target(accuracy_loss=1.0)


@dataclass(frozen=True)
class Choice:
    """The candidate that is shipped, and why it is this one.

    ``interval`` is that of its accuracy loss, made wide enough for the choice among ``candidates``.
    """

    chosen: Measured
    why: str
    candidates: int
    interval: tuple[float, float]


def parse_target(texts: Sequence[str]) -> Target:
    """Return the target of texts like ``latency=2ms``, ``size=300KB`` and ``accuracy_loss=0.5``; ``DEFAULT`` of none.

    Raises:
        ConfigError: for another key, a number that is not one, or an unknown unit, with every problem.
    """
    found: dict[str, float] = {}
    problems = []
    for text in texts:
        key, _, value = (part.strip() for part in text.partition("="))
        match = _NUMBER.fullmatch(value)
        units = _UNITS.get(key)
        if units is None or match is None or (match[2] and match[2] not in units):
            problems.append(
                f"--target: expected latency=2ms, size=300KB or accuracy_loss=1.0 (points), got {text!r}",
            )
            continue
        found[key] = float(match[1]) * units.get(match[2], 1.0)
    if problems:
        raise ConfigError(problems)
    if not found:
        return DEFAULT
    return Target(found.get("latency"), found.get("size"), found.get("accuracy_loss"))


def choose(candidates: Sequence[Measured], target: Target, data: str = "public") -> Choice:
    """Return the fastest candidate that keeps the target; the most accurate one, if no accuracy was asked for.

    ``data`` says whose rows accuracy was measured on.

    Raises:
        ConfigError: if none keeps it, naming the nearest of each kind.
        ValueError: without candidates.
    """
    if not candidates:
        raise ValueError("expected at least one measured candidate, got none")
    passing = [found for found in candidates if target.passed(found)]
    if not passing:
        raise ConfigError([_refusal(candidates, target, data)])
    by_speed = target.accuracy_loss is not None
    best = min(passing, key=_by_speed if by_speed else _by_accuracy)
    synthetic = data == "synthetic"
    kind = "fastest" if by_speed else "most like the dense model" if synthetic else "most accurate"
    judged = f"paired accuracy on {data} rows"
    if synthetic:
        judged = "agreement with the dense model on made-up rows, which is not accuracy"
    why = (
        f"the {kind} of {len(passing)} candidates out of {len(candidates)} that keep {target.sentence(data)}, by "
        f"measured latency on this machine and {judged}"
    )
    return Choice(best, why, len(candidates), widened(best.loss_interval, len(candidates)))


def frontier(candidates: Sequence[Measured]) -> list[Measured]:
    """Return the candidates that no other beats in both latency and accuracy, fastest first."""
    best, kept = -math.inf, []
    for found in sorted(candidates, key=_by_speed):
        if found.accuracy > best:
            best = found.accuracy
            kept.append(found)
    return kept


def _by_speed(found: Measured) -> tuple[float, float, str]:
    return found.latency_ms, -found.accuracy, found.name


def _by_accuracy(found: Measured) -> tuple[float, float, str]:
    return -found.accuracy, found.latency_ms, found.name


def _refusal(candidates: Sequence[Measured], target: Target, data: str) -> str:
    nearest: list[tuple[float | None, str, Callable[[Measured], float]]] = [
        (target.latency_ms, "the fastest takes {:.3g} ms", lambda found: found.latency_ms),
        (target.bytes, "the smallest has {:,.0f} bytes", lambda found: found.bytes),
        (target.accuracy_loss, "the most accurate loses {:.2f} points", lambda found: found.accuracy_loss),
    ]
    said = [words.format(min(map(value, candidates))) for limit, words, value in nearest if limit is not None]
    return f"--target: none of {len(candidates)} candidates keeps {target.sentence(data)}: {', '.join(said)}"
