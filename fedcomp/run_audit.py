"""The audit of one run: attacks on its released models, its ledger recomputed, and whether its claims hold.

The attacks score rows that clients trained on: an auditor's view. A simulation has it; a real server does not.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.audit import MembershipReport, infer_membership
from fedcomp.evaluation import per_example_losses
from fedcomp.plan import Plan
from fedcomp.privacy import FileLedger, LedgerError
from fedcomp.rng import stream
from fedcomp.run_files import RunDirectory

Claim = dict[str, Any]
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class AuditResult:
    """What an audit found."""

    attacks: Mapping[str, MembershipReport]
    """By model: ``global`` and ``student``; empty if the audit is off."""
    ledger: Mapping[str, Any] | None
    """None where no privacy is claimed, so that nothing was charged."""
    claims: tuple[Claim, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what ``audit.json`` holds."""
        attacks = {name: asdict(attack) for name, attack in self.attacks.items()}
        return {**attacks, **({"ledger": dict(self.ledger)} if self.ledger else {}), "claims": list(self.claims)}

    def leakage(self) -> dict[str, Any] | None:
        """Return the ``leakage`` of ``summary.json``; None if nothing was attacked."""
        if "global" not in self.attacks:
            return None
        student = {"student": _leak(self.attacks["student"])} if "student" in self.attacks else {}
        return {**_leak(self.attacks["global"]), **student}


def audit_models(
    plan: Plan, run: RunDirectory, modules: Mapping[str, nn.Module], totals: Mapping[str, Any]
) -> AuditResult:
    """Attack ``modules``, verify the run's ledger, and hold both against what the run claims.

    Args:
        plan: the run's plan.
        run: its directory.
        modules: the released models, ``global`` and, if there is one, ``student``.
        totals: of the last checkpoint: by client, in how many rounds it ``trained`` and was ``counted``.
    """
    attacks = _attack(plan, modules) if plan.config.audit.enabled else {}
    spent = plan.spent_after(max(totals["trained"].values(), default=0))
    if spent is None:
        return AuditResult(attacks, None, ())
    ledger, problem = _verify(plan, run, _released(plan, totals))
    what, whose = ("release", "accounts") if plan.central else ("update", "clients")
    measured = problem or f"{ledger['entries']} entries of {ledger['subjects']} {whose}, one for each {what} counted"
    how = "hash chain recomputed; charges of this run set against the server's counts"
    claims = [
        _claim(f"every {what} is charged in an unbroken ledger", measured, not problem, how),
        _claim(
            f"no {'account' if plan.central else 'client'} spends more than {spent.sentence()}",
            f"epsilon {ledger['max_epsilon']:.3f} from the ledger's own entries, largest over {whose}",
            not problem and 0 < ledger["max_epsilon"] <= spent.epsilon * (1 + 1e-9),
            "PLD accounting of the ledger",
        ),
        *_bounds(attacks, spent.epsilon),
    ]
    return AuditResult(attacks, ledger, tuple(claims))


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


def _released(plan: Plan, totals: Mapping[str, Any]) -> dict[str, int]:
    """Return for every account in how many rounds something was released that must have been charged to it."""
    if plan.central:
        return dict(totals["trained"])
    return {plan.subject(name): number for name, number in totals["counted"].items()}


def _verify(plan: Plan, run: RunDirectory, released: Mapping[str, int]) -> tuple[dict[str, Any], str]:
    """Return the ledger's figures, and what is wrong with it (empty if nothing is).

    A chain alone does not show that its end was cut off: each account must have been charged for at least as many
    rounds of this run as the server counted.
    """
    try:
        ledger = FileLedger(run.ledger_path)
        entries, count = ledger.entries(), ledger.verify()
    except LedgerError as error:
        return {"verified": False, "entries": 0, "subjects": 0, "max_epsilon": 0.0, "problem": str(error)}, str(error)
    charges = [entry.charge for entry in entries]
    charged = {(charge.subject, charge.server_round) for charge in charges if charge.run == run.identity()["run"]}
    rounds = Counter(subject for subject, _ in charged)
    missing = {
        subject: number - rounds[subject] for subject, number in sorted(released.items()) if number > rounds[subject]
    }
    problem = ""
    if not count:
        problem = "there is no entry here; in a deployment each device keeps its own ledger"
    elif missing:
        subject, number = next(iter(missing.items()))
        name = subject.rpartition("/")[2]
        problem = f"{len(missing)} accounts have releases without a charge: {number} of {name} (entries cut off?)"
    delta = plan.config.privacy.delta
    facts = {"entries": count, "subjects": len({charge.subject for charge in charges})}
    return {"verified": not problem, **facts, "max_epsilon": ledger.max_epsilon(delta)}, problem


def _bounds(attacks: Mapping[str, MembershipReport], epsilon: float) -> list[Claim]:
    return [
        _claim(
            f"membership inference on the {name} model stays under epsilon",
            f"lower bound {attack.epsilon_lower_bound:.3f} at {attack.confidence:.0%} confidence, AUC {attack.auc:.3f}",
            attack.epsilon_lower_bound <= epsilon,
            attack.assumptions,
        )
        for name, attack in attacks.items()
    ]


def _claim(claim: str, measured: str, holds: bool, how: str) -> Claim:
    return {"claim": claim, "measured": measured, "holds": bool(holds), "how": how}


def _leak(attack: MembershipReport) -> dict[str, Any]:
    rates = {f"tpr_at_{point.fpr * 100:g}%_fpr": point.tpr for point in attack.tpr_at_fpr}
    return {
        "membership_auc": attack.auc,
        **rates,
        "epsilon_lower_bound": attack.epsilon_lower_bound,
        "confidence": attack.confidence,
        "assumptions": attack.assumptions,
    }
