"""L4 where there is no run: a ledger by itself, as a device keeps it, over all the runs that its data were used in."""

from pathlib import Path

from fedcomp.audit.finding import Finding, judged
from fedcomp.crypto import VerifyingKey
from fedcomp.privacy import FileLedger, LedgerError
from fedcomp.privacy.accounting import check_delta

_HOW = "chain, canonical form and signatures of every line; entries are statements, whose truth is not in the file"


def audit_ledger(path: Path, delta: float, public_key: bytes | None = None, anchor: str | None = None) -> list[Finding]:
    """Return whether the ledger at ``path`` is whole, and what each of its accounts has spent.

    Args:
        path: the ledger; only read.
        delta: at which epsilon is computed.
        public_key: the key that should have signed it, 32 bytes; the one that it names if left out.
        anchor: a head that somebody else kept, which has to be in it; none if left out.

    Raises:
        ValueError: if ``delta`` is not in (0, 1).
    """
    check_delta(delta)
    claim = f"{path} is whole: no line edited, dropped, inserted, repeated or moved, and all signed by one key"
    try:
        ledger = FileLedger(path)
        key = public_key or ledger.public_key()
        count = ledger.verify(anchor, VerifyingKey(key) if key else None)
    except LedgerError as error:
        return [judged("L4 ledger", claim, False, str(error), _HOW)]
    if key is None:
        return [Finding("L4 ledger", claim, "not covered", "it has no entry", _HOW)]
    pinned = f"by key {key.hex()[:16]}" + ("" if public_key else ", which the ledger itself names")
    found = [
        judged("L4 ledger", claim, True, f"{count} charges, {len(ledger.lines()) - count} commits, {pinned}", _HOW)
    ]
    units = {entry.charge.subject: entry.charge for entry in ledger.entries()}
    for subject, charge in sorted(units.items()):
        by_pld, by_rdp = ledger.epsilon(subject, delta), ledger.epsilon(subject, delta, "RDP")
        spent = (
            f"epsilon = {by_pld:.3f} at delta = {delta:g} for each {charge.unit} ({charge.neighboring_relation}, PLD)"
        )
        measured = f"{spent}; {by_rdp:.3f} by RDP"
        said = f"what {subject} has spent over all runs can be priced, and both accountants agree"
        found.append(judged("L4 ledger", said, by_pld <= by_rdp * 1.001, measured, "from the raw entries"))
    return found
