"""Whether a ledger holds what it should: chain, signatures, terms, commits, and what the other side kept of it.

What it cannot show: that noise was added as an entry says, or that nothing was released without an entry. And where
one party holds the ledger, its key and the anchors, as in a simulation, it could have written all three anew.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedcomp.audit.ledger_anchors import (
    Crossing,
    anchor_problems,
    count_problems,
    kept_head_problems,
    lost_updates,
    witness_problems,
)
from fedcomp.audit.ledger_terms import (
    ExpectedCharges,
    doubtful_terms,
    first_of,
    order_problems,
    other_accounts,
    term_problems,
)
from fedcomp.crypto import KeyFileError, VerifyingKey
from fedcomp.privacy import Anchors, Commit, DpEvent, Entry, FileLedger, LedgerError, epsilon
from fedcomp.privacy.accounting import check_delta
from fedcomp.privacy.events import flatten
from fedcomp.privacy.lines import Line, check_signature

_TOLERANCE = 1e-3  # PLD is computed on a grid, and rounded up


@dataclass(frozen=True)
class LedgerReport:
    """What a check of a ledger found; zeros where it could not be read."""

    entries: int
    """Charges, of all runs."""
    committed: int
    """Of them, those under which something was released."""
    subjects: int
    max_epsilon: float
    """Largest over the accounts, over all their runs, by privacy loss distributions; from the raw entries."""
    max_epsilon_rdp: float
    """The same by Renyi differential privacy."""
    public_key: str
    """The key that the ledger names, hexadecimal."""
    problems: tuple[str, ...]
    """What is wrong: one sentence a kind, naming the first entry, round or client."""
    warnings: tuple[str, ...]
    """What is worth knowing and breaks no claim."""

    @property
    def verified(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def check_ledger(
    path: Path,
    *,
    expected: ExpectedCharges,
    delta: float,
    anchors: Path | None = None,
    public_key: bytes | None = None,
    heads: Mapping[str, str] | None = None,
) -> LedgerReport:
    """Check the ledger at ``path`` against the plan of a run, and against what others kept of it.

    Args:
        path: the ledger; only read.
        expected: the run's terms, and the accounts that this ledger should hold.
        delta: at which epsilon is computed.
        anchors: what the server kept, under mode ``local``; None if there is none to compare with.
        public_key: the ledger's key, 32 bytes, if it is known from elsewhere.
        heads: this ledger's heads that others keep (the clients, under mode ``central``), by who keeps them.

    Raises:
        ValueError: if ``delta`` is not in (0, 1).
    """
    check_delta(delta)
    try:
        ledger = FileLedger(path)
        lines, entries = ledger.lines(), ledger.entries()
    except LedgerError as error:
        return LedgerReport(0, 0, 0, 0.0, 0.0, "", (str(error),), ())
    commits = {line.intent: line for line in lines if isinstance(line, Commit)}
    problems, warnings = list(_signature_problems(lines, public_key)), list(_torn(path))
    for found in (
        term_problems(entries, expected),
        order_problems(entries, expected.run),
        _release_problems(entries, commits, expected),
        _last_release_problems(entries, commits, expected),
        kept_head_problems(lines, heads or {}),
    ):
        problems += first_of(found)
    if anchors is not None:
        crossed = _cross(Crossing(lines, (), expected), anchors)
        problems, warnings = [*problems, *crossed[0]], [*warnings, *crossed[1]]
    by_pld, by_rdp, priced = _epsilons(entries, delta)
    kept = _kept_problems(ledger.max_epsilon(delta), by_pld)
    return LedgerReport(
        entries=len(entries),
        committed=len(commits),
        subjects=len({entry.charge.subject for entry in entries}),
        max_epsilon=by_pld,
        max_epsilon_rdp=by_rdp,
        public_key=lines[0].key if lines else "",
        problems=(*problems, *priced, *kept),
        warnings=(
            *warnings,
            *first_of(_uncommitted(entries, commits), limit=10),
            *first_of(other_accounts(entries, expected)),
            *first_of(doubtful_terms(entries, expected.run)),
            *first_of(_repeated(commits)),
        ),
    )


def _kept_problems(kept: float, by_entries: float) -> tuple[str, ...]:
    """Return whether what the ledger refuses by, its own accounts, is what its entries come to."""
    if math.isclose(kept, by_entries, rel_tol=_TOLERANCE, abs_tol=1e-9):
        return ()
    return (f"the ledger's accounts come to epsilon {kept:g}, its entries to {by_entries:g}: no budget is kept",)


def _signature_problems(lines: Sequence[Line], public_key: bytes | None) -> Iterator[str]:
    if not lines:
        return
    try:
        verifier = VerifyingKey(public_key or bytes.fromhex(lines[0].key))
        for line in lines:
            check_signature(line, verifier)
    except (LedgerError, KeyFileError) as error:
        yield str(error)


def _torn(path: Path) -> Iterator[str]:
    try:
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
    except OSError:
        return
    if not whole:
        yield "the last line is torn (a kill or a power cut): it was never acknowledged, and is left out"


def _release_problems(
    entries: Sequence[Entry], commits: Mapping[int, Commit], expected: ExpectedCharges
) -> Iterator[str]:
    """Yield what is missing: releases that were counted and not charged, or not committed."""
    by_subject: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.charge.run == expected.run:
            by_subject.setdefault(entry.charge.subject, []).append(entry)
    for account in expected.accounts:
        mine = by_subject.get(account.subject, [])
        charged = {entry.charge.server_round for entry in mine}
        committed = {entry.charge.server_round for entry in mine if entry.index in commits}
        name = account.client or account.subject
        for what, rounds in (("charge", charged), ("commit", committed)):
            missing = account.counted - len(rounds)
            if account.client == "":  # every round releases, so it is known which ones must be there
                gone = sorted(set(range(1, account.counted + 1)) - rounds)
                if gone:
                    yield f"{name!r}: round {gone[0]} was released without a {what} (entries cut off?)"
                    break
            elif missing > 0:
                yield (
                    f"{name!r}: {missing} of {account.counted} releases that were counted are without a {what} "
                    "(entries cut off?)"
                )
                break


def _last_release_problems(
    entries: Sequence[Entry], commits: Mapping[int, Commit], expected: ExpectedCharges
) -> Iterator[str]:
    """Yield one sentence if the last committed release is not the one that the run's model is."""
    of_run = [commits[entry.index] for entry in entries if entry.charge.run == expected.run and entry.index in commits]
    last = max(of_run, key=lambda commit: commit.index, default=None)
    if expected.released and (last is None or last.released != expected.released):
        where, got = (f"ledger entry {last.index}", last.released[:16]) if last else ("the ledger", "none")
        yield f"{where}: the last committed release is {got}, the run's model is {expected.released[:16]}"


def _cross(crossing: Crossing, path: Path) -> tuple[list[str], list[str]]:
    try:
        crossing = Crossing(crossing.lines, Anchors(path).lines(), crossing.expected)
    except LedgerError as error:
        return [str(error)], []
    checks = (anchor_problems, count_problems, witness_problems)
    problems = [problem for check in checks for problem in first_of(check(crossing))]
    return problems, [*first_of(lost_updates(crossing))]


def _epsilons(entries: Sequence[Entry], delta: float) -> tuple[float, float, tuple[str, ...]]:
    """Return the largest epsilon over accounts by both accountants, and where they contradict each other."""
    raw: dict[str, list[tuple[DpEvent, int]]] = {}
    for entry in entries:
        raw.setdefault(entry.charge.subject, []).append((entry.charge.event, entry.charge.count))
    flat = {subject: flatten(events) for subject, events in raw.items()}
    accounts = {tuple(counts.items()): (subject, counts) for subject, counts in flat.items()}
    pld, rdp, problems = 0.0, 0.0, []
    for items, (subject, counts) in accounts.items():
        if any(_covers(larger, counts) for other, (_, larger) in accounts.items() if other != items):
            continue  # more events never cost less
        mine = epsilon(items, delta), epsilon(items, delta, "RDP")
        if mine[0] > mine[1] * (1 + _TOLERANCE):
            problems.append(f"{subject!r}: epsilon {mine[0]:g} by PLD is above {mine[1]:g} by RDP: they contradict")
        pld, rdp = max(pld, mine[0]), max(rdp, mine[1])
    if math.isnan(pld) or math.isnan(rdp):
        problems.append(f"expected numbers for epsilon, got {pld} by PLD and {rdp} by RDP")
    return pld, rdp, first_of(problems)


def _covers(larger: Mapping[DpEvent, int], smaller: Mapping[DpEvent, int]) -> bool:
    return all(count <= larger.get(event, 0) for event, count in smaller.items())


def _uncommitted(entries: Sequence[Entry], commits: Mapping[int, Commit]) -> Iterator[str]:
    for entry in entries:
        if entry.index not in commits:
            charge = entry.charge
            yield (
                f"intent without commit: entry {entry.index} (round {charge.server_round} of {charge.subject!r}; "
                "spent, nothing released)"
            )


def _repeated(commits: Mapping[int, Commit]) -> Iterator[str]:
    counts = Counter(commit.released for commit in commits.values())
    for commit in commits.values():
        if counts[commit.released] > 1:
            yield f"ledger entry {commit.index}: the same bytes were released under another charge (noise repeated?)"
