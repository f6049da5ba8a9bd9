"""What an (epsilon, delta) guarantee says about an attacker, and where the files of a run contradict each other."""

import math

from fedcomp.report import bounds
from fedcomp.report.load import RunFiles


def tpr_bound(fpr: float, epsilon: float, delta: float) -> float:
    """Return the largest true positive rate that any membership attack can have at ``fpr``.

    The region of (epsilon, delta)-differential privacy, Kairouz, Oh and Viswanath, "The composition theorem for
    differential privacy" (2015): ``tpr <= e^epsilon * fpr + delta`` and ``1 - fpr <= e^epsilon * (1 - tpr) + delta``.

    >>> round(tpr_bound(0.01, 3.0, 1e-5), 3)
    0.201

    Raises:
        ValueError: if ``fpr`` or ``delta`` is outside [0, 1], or ``epsilon`` is negative.
    """
    for name, value in (("fpr", fpr), ("delta", delta)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    if not epsilon >= 0:
        raise ValueError(f"epsilon must be at least 0, got {epsilon}")
    if epsilon > 500:  # e^709 is the end of float64, and far before it the bound is 1
        return 1.0
    rising = math.exp(epsilon) * fpr + delta
    closing = 1 - math.exp(-epsilon) * max(0.0, 1 - delta - fpr)
    return min(1.0, rising, closing)


def example_guarantee(run: RunFiles) -> tuple[float, float] | None:
    """Return (epsilon, delta) if the run protects single examples, which is what a membership attack is about."""
    spent = run.summary.epsilon
    if spent.value is None or spent.delta is None or not math.isfinite(spent.value) or spent.unit != "example":
        return None
    return spent.value, spent.delta


def contradictions(run: RunFiles) -> list[str]:
    """Return one sentence for each thing in the files of ``run`` that a reader must know before believing the rest."""
    return _of_rounds(run) + _of_privacy(run) + _of_bytes(run)


def _of_rounds(run: RunFiles) -> list[str]:
    found = []
    if run.torn:
        found.append(
            "The last line of metrics.jsonl was cut off (the run was killed while writing it) and is left out."
        )
    if len(run.rounds) != run.summary.rounds:
        found.append(f"metrics.jsonl has {len(run.rounds):,} rounds, summary.json says {run.summary.rounds:,}.")
    for way in ("uplink", "downlink"):
        total = getattr(run.summary, f"{way}_bytes")
        added = sum(getattr(row, f"{way}_bytes") for row in run.rounds)
        if added != total:
            found.append(f"The {way} bytes of all rounds add up to {added:,}, summary.json says {total:,}.")
    return found


def _of_privacy(run: RunFiles) -> list[str]:
    found = []
    spent = math.inf if run.summary.epsilon.value is None else run.summary.epsilon.value
    ledger = run.audit.ledger if run.audit else None
    if ledger and not ledger.verified:
        found.append("The ledger could not be verified: its chain of hashes or a signature does not fit.")
    if ledger and ledger.max_epsilon is not None and ledger.max_epsilon > spent * (1 + 1e-9):
        found.append(f"The ledger holds epsilon {bounds.epsilon(ledger.max_epsilon)}, the summary says less.")
    for name, attack in (run.audit.attacks if run.audit else {}).items():
        if attack.epsilon_lower_bound is not None and attack.epsilon_lower_bound > spent:
            bound = bounds.epsilon(attack.epsilon_lower_bound, lower_bound=True)
            found.append(f"The attack on the {name} model shows epsilon of at least {bound}: more than is claimed.")
    return found


def _of_bytes(run: RunFiles) -> list[str]:
    if run.bytes is None:
        return []
    found = []
    last = next((row for row in run.rounds if row.round == run.summary.rounds), None)
    for way, payload in (("uplink", run.bytes), ("downlink", run.bytes.downlink)):
        if payload is None:
            continue
        size, added = payload.stages[-1].bytes, sum(array.bytes for array in payload.arrays)
        # An array's bytes are written to a tenth.
        if payload.arrays and abs(added - size) > 1 + 0.05 * len(payload.arrays):
            found.append(f"The layers of the {way}'s payload in bytes.json add up to {added:,.0f} bytes, not {size:,}.")
        if last is not None and size > getattr(last, f"{way}_bytes"):
            found.append(f"The {way}'s payload in bytes.json is larger than all that the last round sent.")
    return found
