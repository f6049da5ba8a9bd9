"""The audit of one run: attacks on its released models, its ledger recomputed, and whether its claims hold.

The attacks score rows that clients trained on: an auditor's view. A simulation has it; a real server does not.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.audit import MembershipReport, infer_membership
from fedcomp.audit.finding import Finding, judged
from fedcomp.evaluation import per_example_losses
from fedcomp.plan import Plan
from fedcomp.rng import stream
from fedcomp.run_audit.ledger import check_run_ledger, ledger_findings
from fedcomp.run_files import RunDirectory
from fedcomp.training import get_arrays

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class AuditResult:
    """What an audit found."""

    attacks: Mapping[str, MembershipReport]
    """By model: ``global`` and ``student``; empty if the audit is off."""
    ledger: Mapping[str, Any] | None
    """None where no privacy is claimed, so that nothing was charged."""
    findings: tuple[Finding, ...]
    details: Mapping[str, Any] = field(default_factory=dict)
    """More for ``audit.json``: figures of other attacks, and pictures."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``audit.json`` holds."""
        attacks = {name: asdict(attack) for name, attack in self.attacks.items()}
        return {
            **attacks,
            **({"ledger": dict(self.ledger)} if self.ledger else {}),
            **self.details,
            "claims": self.claims(),
        }

    def claims(self) -> list[dict[str, Any]]:
        """Return the findings as JSON has them."""
        return [finding.to_json() for finding in self.findings]

    def leakage(self) -> dict[str, Any] | None:
        """Return the ``leakage`` of ``summary.json``; None if nothing was attacked."""
        if "global" not in self.attacks:
            return None
        student = {"student": _leak(self.attacks["student"])} if "student" in self.attacks else {}
        return {**_leak(self.attacks["global"]), **student}


def audit_models(
    plan: Plan, run: RunDirectory, modules: Mapping[str, nn.Module], totals: Mapping[str, Any], *, attack: bool
) -> AuditResult:
    """Attack ``modules``, verify the run's ledger, and hold both against what the run claims.

    Args:
        plan: the run's plan.
        run: its directory.
        modules: the released models, ``global`` and, if there is one, ``student``.
        totals: of the last checkpoint: by client, in how many rounds it ``trained`` and was ``counted``.
        attack: whether to; a run may be told to leave it out, an audit is not.
    """
    attacks = _attack(plan, modules) if attack else {}
    spent = plan.spent_after(max(totals["trained"].values(), default=0))
    if spent is None:
        return AuditResult(attacks, None, ())
    ledger = check_run_ledger(plan, run, totals, get_arrays(modules["global"]))
    findings = (*ledger_findings(plan, ledger, spent), *_bounds(attacks, spent.epsilon))
    facts = {"verified": ledger.verified and ledger.entries > 0, **asdict(ledger)}
    return AuditResult(attacks, facts, findings)


def _attack(plan: Plan, modules: Mapping[str, nn.Module]) -> dict[str, MembershipReport]:
    """Infer membership from losses, on as many members as non-members, drawn by the seed."""
    shares, _ = plan.split_rows
    train, test, task = plan.task.train(), plan.task.test(), plan.task
    members = np.concatenate(shares)
    count = min(plan.config.audit.examples, len(members), len(test))
    rng = stream(plan.config.seed, "audit")
    held_in = train.take(np.sort(rng.permutation(members)[:count]))
    held_out = test.take(np.sort(rng.permutation(len(test))[:count]))

    def losses(module: nn.Module, inputs: NDArray[Any], targets: NDArray[Any]) -> NDArray[np.float64]:
        return per_example_losses(module, inputs, targets, task.loss)

    return {
        name: infer_membership(
            losses(module, held_in.inputs if name == "global" else held_in.raw, held_in.targets),
            losses(module, held_out.inputs if name == "global" else held_out.raw, held_out.targets),
            delta=plan.config.privacy.delta,
            confidence=_CONFIDENCE,
            rng=stream(plan.config.seed, "audit", name),
        )
        for name, module in modules.items()
    }


def _bounds(attacks: Mapping[str, MembershipReport], epsilon: float) -> list[Finding]:
    return [
        judged(
            "L3 attacks",
            f"membership inference on the {name} model stays under epsilon",
            attack.epsilon_lower_bound <= epsilon,
            f"lower bound {attack.epsilon_lower_bound:.3f} at {attack.confidence:.0%} confidence, AUC {attack.auc:.3f}",
            attack.assumptions,
        )
        for name, attack in attacks.items()
    ]


def _leak(attack: MembershipReport) -> dict[str, Any]:
    rates = {f"tpr_at_{point.fpr * 100:g}%_fpr": point.tpr for point in attack.tpr_at_fpr}
    return {
        "membership_auc": attack.auc,
        **rates,
        "epsilon_lower_bound": attack.epsilon_lower_bound,
        "confidence": attack.confidence,
        "assumptions": attack.assumptions,
    }
