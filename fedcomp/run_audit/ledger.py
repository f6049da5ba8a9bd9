"""L4: the ledger of a run, checked entry by entry against its plan and against what the other side kept of it."""

import json
from collections.abc import Mapping
from typing import Any

from fedcomp.arrays import Arrays, digest
from fedcomp.audit.finding import Finding, judged
from fedcomp.audit.ledger_check import LedgerReport, check_ledger
from fedcomp.audit.ledger_terms import ExpectedAccount, ExpectedCharges
from fedcomp.plan import Plan
from fedcomp.privacy import PrivacySpent
from fedcomp.run_files import RunDirectory
from fedcomp.state import SqliteClientState
from fedcomp.terms import adaptive_clip, by_example, cohort_sampler, server_mechanism

NO_LEDGER = LedgerReport(0, 0, 0, 0.0, 0.0, "", (), ())
"""What is known where clients keep their ledgers on devices of their own."""
_HOW = (
    "chain, signatures and commits verified line by line; every charge of this run set against the plan, against the "
    "server's counts and against the heads and digests that the other side kept"
)


def check_run_ledger(plan: Plan, run: RunDirectory, totals: Mapping[str, Any], model: Arrays) -> LedgerReport:
    """Return what is in the run's ledger and what is wrong with it.

    Args:
        plan: the run's, which claims privacy.
        run: its directory.
        totals: of the last checkpoint: by account, in how many rounds it ``trained`` and was ``counted``.
        model: the released model.
    """
    if not run.ledger_path.exists() and not plan.central:
        return NO_LEDGER
    anchors = None if plan.central else run.anchors_path
    return check_ledger(
        run.ledger_path,
        expected=expected_charges(plan, run.identity()["run"], totals, model),
        delta=plan.config.privacy.delta,
        anchors=anchors,
        heads=_kept_heads(run, totals) if plan.central else None,
    )


def expected_charges(plan: Plan, run: str, totals: Mapping[str, Any], model: Arrays) -> ExpectedCharges:
    """Return what the plan says that each charge of the run has to be.

    Raises:
        ValueError: if the plan claims no privacy.
    """
    config, event = plan.config, plan.round_event
    if event is None or config.privacy.noise_multiplier is None:
        raise ValueError(f"expected a plan that claims privacy, got mode {config.privacy.mode}")
    sampler, examples = cohort_sampler(config), by_example(config)
    rate = config.privacy.sampling_probability if examples else sampler.sampling_probability
    bound = config.privacy.max_grad_norm
    noise, moving = config.privacy.noise_multiplier * bound, False
    if plan.central:
        mechanism, moving = server_mechanism(config), adaptive_clip(config) is not None
        bound, noise = mechanism.sensitivity * (1.0 if examples else sampler.moves), mechanism.noise_std
    return ExpectedCharges(
        run=run,
        event=event,
        sensitivity=None if moving else bound,
        noise_std=None if moving else noise,
        noise_over_sensitivity=noise / bound if moving else None,
        sampler="poisson" if examples else sampler.kind,
        sampling_probability=rate,
        unit=config.privacy.unit,
        accounts=_accounts(plan, totals),
        codec_digest=plan.uplink.digest(),
        released=digest(model) if plan.central else "",
    )


def ledger_findings(plan: Plan, report: LedgerReport, spent: PrivacySpent) -> tuple[Finding, ...]:
    """Return whether the ledger is whole, and whether its own entries stay within what the run says it spent."""
    what, whose = ("release", "accounts") if plan.central else ("update", "clients")
    claim = f"every {what} is charged, signed and committed in an unbroken ledger"
    if report is NO_LEDGER:
        nobody = "there is no entry here; in a deployment each device keeps its own ledger, to be audited there"
        return (Finding("L4 ledger", claim, "not covered", nobody, _HOW),)
    measured = f"{report.entries} charges of {report.subjects} {whose}, {report.committed} of them committed"
    noted = f"; {report.warnings[0]}" if report.warnings else ""
    return (
        judged("L4 ledger", claim, report.verified, "; ".join(report.problems[:3]) or measured + noted, _HOW),
        judged(
            "L4 ledger",
            f"no {'account' if plan.central else 'client'} spends more than {spent.sentence()}",
            report.verified and 0 < report.max_epsilon <= spent.epsilon * (1 + 1e-9),
            f"epsilon {report.max_epsilon:.3f} by PLD and {report.max_epsilon_rdp:.3f} by RDP from the ledger's own "
            f"entries, largest over {whose}",
            "both accountants, from the raw entries",
        ),
    )


def _accounts(plan: Plan, totals: Mapping[str, Any]) -> tuple[ExpectedAccount, ...]:
    if plan.central:
        subject = plan.shared_subject()
        return (ExpectedAccount(subject, "", totals["trained"].get(subject, 0)),)
    return tuple(ExpectedAccount(plan.subject(name), name, count) for name, count in sorted(totals["counted"].items()))


def _kept_heads(run: RunDirectory, totals: Mapping[str, Any]) -> dict[str, str]:
    """Return the heads of the server's ledger that clients of a simulation keep; on devices they are not to be seen."""
    path = run.path / "clients.sqlite"
    if not path.exists():
        return {}
    state = SqliteClientState(path)
    about = {name: json.loads(state.load(name).get("about", b"{}")) for name in sorted(totals["counted"])}
    return {name: each["head"] for name, each in about.items() if each.get("head")}
