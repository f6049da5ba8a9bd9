"""The ledger: one account per subject, across rounds, runs and restarts, written before anything is released."""

from typing import Protocol, Unpack

from fedcomp.privacy.budget import Budget
from fedcomp.privacy.entry import Details, Key
from fedcomp.privacy.events import DpEvent
from fedcomp.privacy.lines import Commit, Entry, Line


class Ledger(Protocol):
    """Contract: who was charged what. Append-only, hash-chained, signed, and durable before a call returns.

    A subject names a data set and a unit of privacy. It has one account, whatever run charges it and however often the
    process restarts. Every refusal comes before any change.

    A release has two phases. ``compose`` writes down that something is about to be released, and from then on it is
    spent. ``commit`` writes down what it was, once it is stored and before it leaves.
    """

    def compose(
        self,
        subject: str,
        event: DpEvent,
        *,
        budget: Budget | None = None,
        witness: str = "",
        **details: Unpack[Details],
    ) -> Entry:
        """Charge one release to ``subject`` and return its entry; ``details`` are the fields of ``Charge``.

        Once per (subject, run, server_round, release): the same charge again is not charged again and returns the
        entry that is there. That is right for one release that is prepared or sent again, and only for that: fresh
        noise after something may have left is another release, and needs another ``release`` name.

        ``witness`` is the head of the other side's records that is known now, 32 bytes in hexadecimal, or empty.

        Raises:
            BudgetExceeded: if the account would then cost more than ``budget``; nothing is written.
            LedgerError: if the ledger is damaged, or the same release was charged with other content.
            UnsupportedEvent: for an event that cannot be priced.
            ValueError: for a detail out of range.
        """
        ...

    def commit(self, entry: Entry | Key, released: str, *, witness: str = "") -> Commit:
        """Write down what leaves under a charge: the SHA-256 of it, as hexadecimal.

        The same again returns the commit that is there, so an answer that is sent again is no other release.

        Raises:
            LedgerError: if nothing was charged under that key, or something else was released under it; it must not
                leave then.
            ValueError: if ``released`` or ``witness`` is no digest.
        """
        ...

    def commit_of(self, entry: Entry) -> Commit | None:
        """Return what was released under a charge; None if nothing was, as far as the ledger knows."""
        ...

    def would_exceed(self, subject: str, event: DpEvent, count: int, budget: Budget) -> bool:
        """Return whether ``count`` more events would cost the subject more than ``budget``; changes nothing."""
        ...

    def epsilon(self, subject: str, delta: float) -> float:
        """Return the subject's upper bound on epsilon, committed or not; 0 for a subject that was never charged."""
        ...

    def max_epsilon(self, delta: float) -> float:
        """Return the largest epsilon of all subjects: their data are disjoint, so neither the sum nor the mean."""
        ...

    def entries(self) -> tuple[Entry, ...]:
        """Return all charges, oldest first."""
        ...

    def lines(self) -> tuple[Line, ...]:
        """Return all charges and commits, oldest first."""
        ...

    def head(self) -> str:
        """Return the hash of the last line: what somebody else keeps in order to notice a rollback."""
        ...

    def verify(self, anchor: str | None = None) -> int:
        """Check every line again, from the file, and return how many charges there are.

        Raises:
            LedgerError: naming the first entry that is broken and why; or if no entry has the hash ``anchor``.
        """
        ...
