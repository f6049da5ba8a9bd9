"""A ledger in a file that shows when it was touched, and that several processes append to.

An entry is on disk, whole and synced, before ``compose`` returns; whoever releases something does so afterwards, and
says by ``commit`` what left. An entry without a commit is spent all the same.

What each part shows: the chain of hashes, that a line was edited, dropped, inserted or moved; the signatures, that
somebody without the key hashed the rest anew. That its owner did so, or put an older copy back, shows only against a
head that somebody else keeps: ``verify(anchor)``.
"""

import time
from pathlib import Path
from typing import Unpack

from fedcomp.privacy.accounting import Accountant, epsilon
from fedcomp.privacy.budget import Budget, BudgetExceeded, merge
from fedcomp.privacy.chain import GENESIS, LedgerError, check_hex
from fedcomp.privacy.chain_file import ChainFile
from fedcomp.privacy.entry import Charge, Details, Key
from fedcomp.privacy.events import DpEvent, flatten
from fedcomp.privacy.lines import Commit, Entry, Line, Signer, Verifier, check_signature, read_line


class FileLedger:
    """A ``Ledger`` in a file of JSON lines (see ``lines``) that several threads and processes may append to.

    The file is read and its hashes are checked whole when it is opened; after that only what others have appended is
    read, so a charge costs the same however long the ledger is. Whoever appends checks the signature of the last line,
    which stands for all before it by their hashes; ``verify`` checks every one.

    Args:
        path: the file; it need not exist yet.
        signer: the ledger's key; without it the ledger can be read and nothing can be charged.

    Raises:
        LedgerError: if the file is damaged, cannot be read, or is another key's; a client that gets this refuses to
            train.
    """

    def __init__(self, path: str | Path, signer: Signer | None = None) -> None:
        self.path, self._signer = Path(path), signer
        self._file = ChainFile[Line](self.path, "ledger", read_line, self._take_in)
        self._entries: list[Entry] = []
        self._commits: dict[int, Commit] = {}
        self._by_key: dict[Key, Entry] = {}
        self._accounts: dict[str, dict[DpEvent, int]] = {}
        self._terms: dict[str, tuple[str, str]] = {}
        self._trusted = ""  # hash of the last line whose signature is known to fit
        with self._file.mutex:
            self._file.read_on()
            if signer is not None:
                self._check_last(signer)

    def compose(
        self,
        subject: str,
        event: DpEvent,
        *,
        budget: Budget | None = None,
        witness: str = "",
        **details: Unpack[Details],
    ) -> Entry:
        """See ``Ledger.compose``."""
        charge, signer = Charge(subject, event, **details), self._key()
        with self._file.turn():
            self._check_last(signer)
            existing = self._by_key.get(charge.key)
            if existing is not None:
                return _same(existing, charge)
            self._check_account(charge)
            if budget is not None:
                self._check_budget(charge, budget)
            entry = Entry.after(self._file.last, charge, time.time(), signer, witness)
            self._append(entry)
            return entry

    def commit(self, entry: Entry | Key, released: str, *, witness: str = "") -> Commit:
        """See ``Ledger.commit``."""
        check_hex("released", released, 32)
        signer = self._key()
        with self._file.turn():
            self._check_last(signer)
            intent = self._intent(entry)
            existing = self._commits.get(intent.index)
            if existing is not None:
                if existing.released == released:
                    return existing
                raise LedgerError(
                    f"ledger entry {intent.index}: {existing.released[:16]} was released under it (entry "
                    f"{existing.index}), got {released[:16]}: that would be a second release under one charge"
                )
            commit = Commit.after(self._file.last, intent, released, signer, witness)
            self._append(commit)
            return commit

    def commit_of(self, entry: Entry) -> Commit | None:
        """See ``Ledger.commit_of``."""
        with self._file.mutex:
            self._file.read_on()
            return self._commits.get(entry.index)

    def would_exceed(self, subject: str, event: DpEvent, count: int, budget: Budget) -> bool:
        """See ``Ledger.would_exceed``."""
        with self._file.mutex:
            self._file.read_on()
            return budget.exceeded_by(self._accounts.get(subject, {}), flatten([(event, count)]))

    def epsilon(self, subject: str, delta: float, accountant: Accountant = "PLD") -> float:
        """See ``Ledger.epsilon``."""
        with self._file.mutex:
            self._file.read_on()
            return epsilon(self._accounts.get(subject, {}).items(), delta, accountant)

    def max_epsilon(self, delta: float, accountant: Accountant = "PLD") -> float:
        """See ``Ledger.max_epsilon``."""
        with self._file.mutex:
            self._file.read_on()
            accounts = list(self._accounts.values())
        return max((epsilon(account.items(), delta, accountant) for account in accounts), default=0.0)

    def entries(self) -> tuple[Entry, ...]:
        """See ``Ledger.entries``."""
        with self._file.mutex:
            self._file.read_on()
            return tuple(self._entries)

    def lines(self) -> tuple[Line, ...]:
        """See ``Ledger.lines``."""
        with self._file.mutex:
            self._file.read_on()
            return tuple(self._file.lines)

    def head(self) -> str:
        """See ``Ledger.head``; 64 zeros if nothing was charged yet."""
        return self._file.head()

    def public_key(self) -> bytes | None:
        """Return the key that the lines name; None if there is no line yet."""
        lines = self.lines()
        return bytes.fromhex(lines[0].key) if lines else None

    def verify(self, anchor: str | None = None, verifier: Verifier | None = None) -> int:
        """See ``Ledger.verify``. Signatures are checked with ``verifier``, or with the key that this was opened with.

        Without either, hashes alone are.
        """
        fresh, check = FileLedger(self.path), verifier or self._signer
        lines = fresh.lines()
        if check is not None:
            for line in lines:
                check_signature(line, check)
        if anchor not in (None, GENESIS) and all(line.hash != anchor for line in lines):
            raise LedgerError(f"ledger {self.path}: no entry has the hash {anchor}: entries were dropped or rewritten")
        return len(fresh.entries())

    def _key(self) -> Signer:
        if self._signer is None:
            raise LedgerError(f"ledger {self.path}: it was opened without its key, so nothing can be charged to it")
        return self._signer

    def _append(self, line: Line) -> None:
        self._file.append([line])
        self._trusted = line.hash

    def _check_last(self, signer: Signer) -> None:
        """Refuse to go on from a line that this key did not sign: the hashes before it hang on that signature."""
        last = self._file.last
        if last is not None and last.hash != self._trusted:
            check_signature(last, signer)
            self._trusted = last.hash

    def _intent(self, entry: Entry | Key) -> Entry:
        key = entry.charge.key if isinstance(entry, Entry) else entry
        found = self._by_key.get(key)
        if found is None:
            subject, run, server_round, release = key
            raise LedgerError(
                f"{release!r} of round {server_round} of run {run!r} was never charged to {subject!r}: expected an "
                "entry before anything leaves"
            )
        if isinstance(entry, Entry) and found.hash != entry.hash:
            raise LedgerError(f"ledger entry {entry.index}: expected it to be in this ledger, got that of another one")
        return found

    def _take_in(self, line: Line) -> None:
        if isinstance(line, Commit):
            self._take_in_commit(line)
            return
        charge = line.charge
        if charge.key in self._by_key:
            first = self._by_key[charge.key].index
            raise LedgerError(f"ledger entry {line.index}: the same release was charged in entry {first}")
        self._check_account(charge)
        account = self._accounts.get(charge.subject, {})
        self._accounts[charge.subject] = merge(account, flatten([(charge.event, charge.count)]))
        self._terms.setdefault(charge.subject, (charge.unit, charge.neighboring_relation))
        self._by_key[charge.key] = line
        self._entries.append(line)

    def _take_in_commit(self, commit: Commit) -> None:
        intent = self._file.lines[commit.intent] if 0 <= commit.intent < len(self._file.lines) else None
        if not isinstance(intent, Entry) or intent.hash != commit.intent_hash:
            raise LedgerError(
                f"ledger entry {commit.index}: it commits entry {commit.intent}, which is no charge with that hash"
            )
        if commit.intent in self._commits:
            first = self._commits[commit.intent].index
            raise LedgerError(
                f"ledger entry {commit.index}: entry {commit.intent} was committed before, in entry {first}: a second "
                "release under one charge"
            )
        self._commits[commit.intent] = commit

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
