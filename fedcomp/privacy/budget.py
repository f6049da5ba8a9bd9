"""What a subject may spend, and whether one more event would be too much: asked before every round, so it is quick."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import dp_accounting as dp

from fedcomp.errors import FedcompError
from fedcomp.privacy.accounting import check_delta, coarse_epsilon, epsilon
from fedcomp.privacy.events import DpEvent

Counts = Mapping[DpEvent, int]

_LOOKAHEAD = 2**12


class BudgetExceeded(FedcompError):
    """One more release would cost more than the budget; nothing was changed, and nothing may be released."""

    exit_code = 5


@dataclass(frozen=True)
class Budget:
    """The largest epsilon that one subject may spend, at ``delta``."""

    target_epsilon: float
    delta: float

    def __post_init__(self) -> None:
        check_delta(self.delta)
        if not self.target_epsilon > 0:
            raise ValueError(f"target_epsilon must be above 0, got {self.target_epsilon}")

    def exceeded_by(self, spent: Counts, increment: Counts) -> bool:
        """Return whether ``spent`` and ``increment`` together (both as ``flatten`` gives them) cost more than this.

        The answer is that of ``epsilon``, to the last digit. More events never cost less, so an answer covers every
        smaller (or larger) multiset: whenever a new one is priced, the largest affordable number of further increments
        is searched for, and the calls of a whole run are then answered from memory.
        """
        wanted = merge(spent, increment)
        if dp.NonPrivateDpEvent() in wanted:
            return True
        known = _known(self)
        answer = known.answer(wanted)
        if answer is not None:
            return answer
        if coarse_epsilon(wanted, self.delta) <= self.target_epsilon:
            known.remember_safe(merge(spent, increment, self._affordable(spent, increment)))
            return False
        if epsilon(wanted.items(), self.delta) <= self.target_epsilon:
            known.remember_safe(wanted)
            return False
        known.remember_exceeding(wanted)
        return True

    def _affordable(self, spent: Counts, increment: Counts) -> int:
        """Return how many increments are affordable for sure, at least one, by doubling and halving."""

        def safe(times: int) -> bool:
            return coarse_epsilon(merge(spent, increment, times), self.delta) <= self.target_epsilon

        low = 1
        while low < _LOOKAHEAD and safe(2 * low):
            low *= 2
        step = low // 2 if low < _LOOKAHEAD else 0
        while step:
            low, step = (low + step if safe(low + step) else low), step // 2
        return low


def merge(spent: Counts, increment: Counts, times: int = 1) -> dict[DpEvent, int]:
    """Return the counts of ``spent`` and of ``times`` increments together."""
    return {
        event: spent.get(event, 0) + times * increment.get(event, 0)
        for event in [*spent, *(event for event in increment if event not in spent)]
    }


@dataclass
class _Known:
    """A memo of one budget: multisets known to fit and known not to; it holds no state of any subject."""

    safe: list[Counts] = field(default_factory=list)
    exceeding: list[Counts] = field(default_factory=list)

    def answer(self, wanted: Counts) -> bool | None:
        if any(_covers(larger, wanted) for larger in self.safe):
            return False
        return True if any(_covers(wanted, smaller) for smaller in self.exceeding) else None

    def remember_safe(self, counts: Counts) -> None:
        self.safe = [counts, *(other for other in self.safe if not _covers(counts, other))]

    def remember_exceeding(self, counts: Counts) -> None:
        self.exceeding = [counts, *(other for other in self.exceeding if not _covers(other, counts))]


@functools.lru_cache(maxsize=64)
def _known(budget: Budget) -> _Known:
    return _Known()


def _covers(larger: Counts, smaller: Counts) -> bool:
    return all(count <= larger.get(event, 0) for event, count in smaller.items())
