"""What the small model has to reach, and which of the measured candidates does."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedcomp.errors import ConfigError
from fedcomp.export.candidate import Measured

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
        limits = (
            (self.latency_ms, found.latency_ms),
            (self.bytes, found.bytes),
            (self.accuracy_loss, found.accuracy_loss),
        )
        return all(limit is None or value <= limit for limit, value in limits)

    def sentence(self) -> str:
        """Return the limits in words."""
        parts = [
            f"latency at most {self.latency_ms:g} ms" if self.latency_ms is not None else "",
            f"file at most {self.bytes:,.0f} bytes" if self.bytes is not None else "",
            f"at most {self.accuracy_loss:g} points lost" if self.accuracy_loss is not None else "",
        ]
        return ", ".join(filter(None, parts)) or "no limit"


DEFAULT = Target(accuracy_loss=1.0)


@dataclass(frozen=True)
class Choice:
    """The candidate that is shipped, and why it is this one."""

    chosen: Measured
    why: str


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
        raise ConfigError([_refusal(candidates, target)])
    by_speed = target.accuracy_loss is not None
    best = min(passing, key=_by_speed if by_speed else _by_accuracy)
    kind = "fastest" if by_speed else "most accurate"
    why = (
        f"the {kind} of {len(passing)} candidates out of {len(candidates)} that keep {target.sentence()}, by measured "
        f"latency on this machine and paired accuracy on {data} rows"
    )
    return Choice(best, why)


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


def _refusal(candidates: Sequence[Measured], target: Target) -> str:
    nearest: list[tuple[float | None, str, Callable[[Measured], float]]] = [
        (target.latency_ms, "the fastest takes {:.3g} ms", lambda found: found.latency_ms),
        (target.bytes, "the smallest has {:,.0f} bytes", lambda found: found.bytes),
        (target.accuracy_loss, "the most accurate loses {:.2f} points", lambda found: found.accuracy_loss),
    ]
    said = [words.format(min(map(value, candidates))) for limit, words, value in nearest if limit is not None]
    return f"--target: none of {len(candidates)} candidates keeps {target.sentence()}: {', '.join(said)}"
