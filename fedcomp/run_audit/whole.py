"""The whole audit of a finished run, layer by layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import nn

from fedcomp.audit.finding import Finding
from fedcomp.audit.wire import Declared, WireReply, check_replies
from fedcomp.plan import Plan
from fedcomp.run_audit.code import FULL, QUICK, audit_code
from fedcomp.run_audit.inversion import inversion_findings, invert_updates, pictures
from fedcomp.run_audit.inversion import to_json as inversion_json
from fedcomp.run_audit.models import AuditResult, audit_models
from fedcomp.run_audit.shadow import shadow_attacks, shadow_findings
from fedcomp.run_files import RunDirectory

Rehearse = Callable[[Plan], Sequence[WireReply]]

_SEALED: Mapping[str, frozenset[str]] = {"local": frozenset({"head", "ledger"}), "central": frozenset({"within"})}
_GREETING = frozenset({"client", "public_key", "version", "holds"})
"""What replies may say under a private mode, beside the payload: see ``docs/threat-model.md``."""


def audit_whole(
    plan: Plan,
    run: RunDirectory,
    modules: Mapping[str, nn.Module],
    totals: Mapping[str, Any],
    *,
    quick: bool,
    rehearse: Rehearse,
    say: Callable[[str], None],
) -> AuditResult:
    """Return the findings of every layer, L0 to L5, with what belongs into ``audit.json``.

    Args:
        plan: of the run.
        run: its directory.
        modules: the released models, ``global`` and, if there is one, ``student``.
        totals: of its last checkpoint.
        quick: draw less, and leave out shadow models and the inversion of updates.
        rehearse: makes one round of the plan with real clients, and returns their replies in the clear.
        say: is told what is being done.
    """
    say("attacking the released models, verifying the ledger")
    found = audit_models(plan, run, modules, totals, attack=True)
    rounds = max(totals["trained"].values(), default=0)
    spent = plan.spent_after(rounds)
    if spent is None:
        return found if quick else _inverted(plan, found, say)
    say("rehearsing a round to see what clients send")
    sealed = _SEALED[plan.config.privacy.mode] | ({"width"} if any(plan.narrows) else frozenset())
    declared = Declared(_GREETING, frozenset({"client", "round"}), sealed)
    findings = [check_replies(rehearse(plan), declared)]
    findings += audit_code(plan, QUICK if quick else FULL, spent, rounds, say)
    found = _with(found, findings)
    if quick:
        return found
    say("training shadow models to attack the global model")
    shadow = shadow_attacks(plan, modules["global"])
    details = {"shadow": {name: asdict(attack) for name, attack in shadow.items()}}
    return _inverted(plan, _with(found, shadow_findings(shadow, spent.epsilon), details), say)


def _inverted(plan: Plan, found: AuditResult, say: Callable[[str], None]) -> AuditResult:
    say("inverting updates")
    inversions = invert_updates(plan)
    details = {"inversion": inversion_json(inversions), "pictures": pictures(inversions)}
    return _with(found, inversion_findings(plan, inversions), details)


def _with(found: AuditResult, findings: Sequence[Finding], details: Mapping[str, Any] | None = None) -> AuditResult:
    """Return the result with more findings in it, layer by layer."""
    ordered = sorted((*found.findings, *findings), key=lambda finding: finding.layer)
    return replace(found, findings=tuple(ordered), details={**found.details, **(details or {})})
