"""A ledger in a file that shows when it was touched, and that several processes append to.

An entry is on disk, whole and synced, before ``compose`` returns; whoever releases something does so afterwards. So a
last line without its newline was never acknowledged and nothing was released under it. Still, if that line is complete
but for the newline it is kept (charging too much is safe); otherwise it is cut off at the next ``compose``.

What a chain of hashes cannot show is a file that was cut at an entry's end, or rewritten whole by its owner: for that,
somebody else keeps ``head()`` and hands it to ``verify``.
"""

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from fedcomp.files import append_synced
from fedcomp.privacy.accounting import epsilon
from fedcomp.privacy.budget import Budget, BudgetExceeded, merge
from fedcomp.privacy.entry import GENESIS, Charge, Details, Entry, LedgerError
from fedcomp.privacy.events import DpEvent, flatten


class FileLedger:
    """A ``Ledger`` in a file of JSON lines (see ``entry``) that several threads and processes may append to.

    Writers take turns by ``flock`` on ``<path>.lock``, on a file system that has it. The file is read and checked whole
    when it is opened; after that only what others have appended is read, so a charge costs the same however long the
    ledger is.

    Raises:
        LedgerError: if the file is damaged or cannot be read; a client that gets this refuses to train.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._mutex = threading.RLock()
        self._entries: list[Entry] = []
        self._by_key: dict[tuple[str, str, int, str], Entry] = {}
        self._accounts: dict[str, dict[DpEvent, int]] = {}
        self._terms: dict[str, tuple[str, str]] = {}
        self._size = 0  # bytes read and checked so far; always the end of a line
        with self._mutex:
            self._read_on()

    def compose(
        self, subject: str, event: DpEvent, *, budget: Budget | None = None, **details: Unpack[Details]
    ) -> Entry:
        """See ``Ledger.compose``."""
        charge = Charge(subject, event, **details)
        with self._mutex, self._turn():
            self._mend(self._read_on())
            existing = self._by_key.get(charge.key)
            if existing is not None:
                return _same(existing, charge)
            self._check_account(charge)
            if budget is not None:
                self._check_budget(charge, budget)
            entry = Entry.after(self._last(), charge, time.time())
            append_synced(self.path, entry.to_line())
            self._read_on()
            return entry

    def would_exceed(self, subject: str, event: DpEvent, count: int, budget: Budget) -> bool:
        """See ``Ledger.would_exceed``."""
        with self._mutex:
            self._read_on()
            return budget.exceeded_by(self._accounts.get(subject, {}), flatten([(event, count)]))

    def epsilon(self, subject: str, delta: float) -> float:
        """See ``Ledger.epsilon``."""
        with self._mutex:
            self._read_on()
            return epsilon(self._accounts.get(subject, {}).items(), delta)

    def max_epsilon(self, delta: float) -> float:
        """See ``Ledger.max_epsilon``."""
        with self._mutex:
            self._read_on()
            return max((epsilon(account.items(), delta) for account in self._accounts.values()), default=0.0)

    def entries(self) -> tuple[Entry, ...]:
        """See ``Ledger.entries``."""
        with self._mutex:
            self._read_on()
            return tuple(self._entries)

    def head(self) -> str:
        """See ``Ledger.head``; 64 zeros if nothing was charged yet."""
        entries = self.entries()
        return entries[-1].hash if entries else GENESIS

    def verify(self, anchor: str | None = None) -> int:
        """See ``Ledger.verify``."""
        entries = FileLedger(self.path).entries()
        if anchor not in (None, GENESIS) and all(entry.hash != anchor for entry in entries):
            raise LedgerError(f"ledger {self.path}: no entry has the hash {anchor}: entries were dropped or rewritten")
        return len(entries)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            descriptor = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise LedgerError(f"cannot lock ledger {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # which gives the lock back

    def _read_on(self) -> bytes:
        """Check and take in what was appended since the last time; return what follows the last newline."""
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < self._size:
                raise LedgerError(f"ledger {self.path}: expected at least {self._size} bytes, got {size}: it was cut")
            if size == self._size:
                return b""
            with self.path.open("rb") as file:
                file.seek(self._size)
                *lines, tail = file.read().split(b"\n")
        except OSError as error:
            raise LedgerError(f"cannot read ledger {self.path}: {error.strerror}") from error
        for line in lines:
            entry = Entry.from_line(line + b"\n", self._last())
            self._take_in(entry)
            self._size += len(line) + 1
        if _is_entry(tail[:-1], self._last()):
            # A torn line is a prefix of a line; one byte too many is a newline that was changed into something else.
            raise LedgerError(f"ledger entry {len(self._entries)}: its newline was changed")
        return tail

    def _mend(self, tail: bytes) -> None:
        """Deal with a last line that was torn by a kill or a power cut (see the module's docstring)."""
        if _is_entry(tail, self._last()):
            append_synced(self.path, b"\n")
            self._read_on()
        elif tail:
            try:
                with self.path.open("r+b") as file:
                    file.truncate(self._size)
                    os.fsync(file.fileno())
            except OSError as error:
                raise LedgerError(f"cannot cut the torn line off ledger {self.path}: {error.strerror}") from error

    def _last(self) -> Entry | None:
        return self._entries[-1] if self._entries else None

    def _take_in(self, entry: Entry) -> None:
        charge = entry.charge
        if charge.key in self._by_key:
            first = self._by_key[charge.key].index
            raise LedgerError(f"ledger entry {entry.index}: the same release was charged in entry {first}")
        self._check_account(charge)
        account = self._accounts.get(charge.subject, {})
        self._accounts[charge.subject] = merge(account, flatten([(charge.event, charge.count)]))
        self._terms.setdefault(charge.subject, (charge.unit, charge.neighboring_relation))
        self._by_key[charge.key] = entry
        self._entries.append(entry)

    def _check_account(self, charge: Charge) -> None:
        """One account has one unit and one neighboring relation: epsilons of two cannot be composed."""
        got = (charge.unit, charge.neighboring_relation)
        terms = self._terms.get(charge.subject, got)
        if terms != got:
            raise LedgerError(f"subject {charge.subject!r}: expected unit and neighboring relation {terms}, got {got}")

    def _check_budget(self, charge: Charge, budget: Budget) -> None:
        account, increment = self._accounts.get(charge.subject, {}), flatten([(charge.event, charge.count)])
        if budget.exceeded_by(account, increment):
            spent, wanted = (epsilon(counts.items(), budget.delta) for counts in (account, merge(account, increment)))
            raise BudgetExceeded(
                f"round {charge.server_round} of run {charge.run!r} is not released: epsilon of {charge.subject!r} for "
                f"each {charge.unit} would go from {spent:.4g} to {wanted:.4g} at delta {budget.delta:g} "
                f"({charge.neighboring_relation}, PLD), expected at most {budget.target_epsilon:g}"
            )


def _is_entry(line: bytes, previous: Entry | None) -> bool:
    if not line:
        return False
    try:
        Entry.from_line(line + b"\n", previous)
    except LedgerError:
        return False
    return True


def _same(existing: Entry, charge: Charge) -> Entry:
    """Return the entry if it holds exactly this charge; otherwise refuse, naming the first field that differs."""
    if existing.charge == charge:
        return existing
    held, asked = existing.charge.to_json(), charge.to_json()
    name = next((name for name in held if held[name] != asked[name]), None)
    if name is None:
        return existing
    raise LedgerError(
        f"{charge.release!r} of round {charge.server_round} of run {charge.run!r} was charged to {charge.subject!r} in "
        f"entry {existing.index} with {name} {held[name]!r}, got {asked[name]!r}"
    )
