"""Whether a ledger and what the other side kept of it agree: a rewrite of either shows in the other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fedcomp.audit.ledger_terms import ExpectedAccount, ExpectedCharges
from fedcomp.privacy import Anchor, Commit, Entry
from fedcomp.privacy.chain import GENESIS
from fedcomp.privacy.lines import Line


@dataclass(frozen=True)
class Crossing:
    """A ledger's lines and a server's anchors, with the run that they are about."""

    lines: Sequence[Line]
    anchors: Sequence[Anchor]
    expected: ExpectedCharges

    @property
    def key(self) -> str:
        """The ledger's public key; empty if it has no line."""
        return self.lines[0].key if self.lines else ""

    def intent(self, line: Line) -> Entry:
        """Return the charge that a line makes or commits."""
        found = self.lines[line.intent] if isinstance(line, Commit) else line
        if not isinstance(found, Entry):
            raise TypeError(f"ledger entry {line.index}: expected the index of a charge, got that of a commit")
        return found

    def of_run(self) -> Iterator[Line]:
        """Yield the lines of the run."""
        return (line for line in self.lines if self.intent(line).charge.run == self.expected.run)

    def ours(self) -> Iterator[Anchor]:
        """Yield the anchors of the accounts that this ledger should hold, and any that name its key."""
        known = self.by_client
        return (one for one in self.anchors if one.receipt.client in known or one.receipt.key == self.key)

    @cached_property
    def by_client(self) -> dict[str, ExpectedAccount]:
        """The accounts that this ledger should hold, by client."""
        return {account.client: account for account in self.expected.accounts}


def anchor_problems(crossing: Crossing) -> Iterator[str]:
    """Yield one sentence for each anchor that the ledger does not bear out."""
    commits = {line.hash: line for line in crossing.lines if isinstance(line, Commit)}
    last: dict[str, Commit] = {}
    for anchor in crossing.ours():
        commit = commits.get(anchor.receipt.head)
        problem = _mismatch(crossing, anchor, commit)
        before = last.get(anchor.receipt.client)
        if not problem and commit and before and commit.index < before.index:
            problem = f"its head is entry {commit.index}, and an earlier anchor's is entry {before.index}: out of order"
        if problem:
            yield f"{_where(anchor)}: {problem}"
        elif commit:
            last[anchor.receipt.client] = commit


def count_problems(crossing: Crossing) -> Iterator[str]:
    """Yield one sentence for each client of which the server counted more updates than it anchored."""
    rounds: dict[str, set[int]] = {}
    for anchor in crossing.ours():
        rounds.setdefault(anchor.receipt.client, set()).add(anchor.receipt.server_round)
    for account in crossing.expected.accounts:
        anchored = len(rounds.get(account.client, ()))
        if anchored < account.counted:
            yield (
                f"{account.client!r}: {account.counted} updates were counted and {anchored} are anchored (anchors cut "
                "off?)"
            )


def witness_problems(crossing: Crossing) -> Iterator[str]:
    """Yield one sentence for each line of the run whose witness the anchors do not bear out.

    That a line was anchored after its witness need not be checked: a head that comes later depends on the line's hash.
    """
    places = {GENESIS: -1, **{anchor.hash: anchor.index for anchor in crossing.anchors}}
    last: dict[str, int] = {}
    for line in crossing.of_run():
        subject = crossing.intent(line).charge.subject
        place = places.get(line.witness)
        if place is None:
            kept = f"the head {line.witness[:16]}" if line.witness else "no head"
            yield (
                f"ledger entry {line.index}: it names {kept} as its witness, which no anchor has (anchors rewritten or "
                "cut off?)"
            )
            continue
        if place < last.get(subject, -1):
            yield f"ledger entry {line.index}: its witness is anchor {place}, after {last[subject]}: out of order"
        last[subject] = max(place, last.get(subject, -1))


def lost_updates(crossing: Crossing) -> Iterator[str]:
    """Yield one sentence for each commit of the run that no anchor names."""
    heads = {anchor.receipt.head for anchor in crossing.anchors}
    for line in crossing.of_run():
        if isinstance(line, Commit) and line.hash not in heads:
            charge = crossing.intent(line).charge
            yield (
                f"released and not counted: entry {line.index} (round {charge.server_round} of {charge.subject!r}; "
                "lost on its way, or refused by the server)"
            )


def kept_head_problems(lines: Sequence[Line], heads: Mapping[str, str]) -> Iterator[str]:
    """Yield one sentence for each head, by who keeps it, that the ledger does not have."""
    known = {GENESIS, "", *(line.hash for line in lines)}
    for name, head in heads.items():
        if head not in known:
            yield f"{name!r} keeps the head {head[:16]}, which no entry has: the ledger was rewritten or cut"


def _mismatch(crossing: Crossing, anchor: Anchor, commit: Commit | None) -> str:
    receipt, expected = anchor.receipt, crossing.expected
    account = crossing.by_client.get(receipt.client)
    if account is None:
        return f"{receipt.client!r} is no client of this run"
    if receipt.key != crossing.key:
        return (
            f"its ledger has the key {receipt.key[:16]}, and this one {crossing.key[:16] or 'no entry'}: another ledger"
        )
    if commit is None:
        return f"no commit has the hash {receipt.head[:16]}: the ledger was rewritten or cut, or an older one put back"
    charge = crossing.intent(commit).charge
    if (charge.run, charge.subject, charge.server_round) != (expected.run, account.subject, receipt.server_round):
        return (
            f"its head, entry {commit.index}, commits round {charge.server_round} of {charge.subject!r} in run "
            f"{charge.run!r}"
        )
    if commit.released != receipt.payload:
        return (
            f"{receipt.payload[:16]} came, and entry {commit.index} committed {commit.released[:16]}: a second release "
            "under one charge"
        )
    return ""


def _where(anchor: Anchor) -> str:
    return f"anchor {anchor.index} (round {anchor.receipt.server_round}, {anchor.receipt.client!r})"
