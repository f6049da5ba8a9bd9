"""The privacy statement of a run: one paragraph, and two published checklists answered item by item.

The checklists are those of NIST SP 800-226, *Guidelines for Evaluating Differential Privacy Guarantees* (2025; the
parts of its pyramid), and of Ponomareva et al., *How to DP-fy ML* (2023; its section on reporting). What the software
cannot know is answered with "not covered" and who would have to know it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcomp.audit.finding import Finding
from fedcomp.plan import Plan
from fedcomp.plan.teacher import remark
from fedcomp.privacy import PrivacySpent, epsilon
from fedcomp.terms import adaptive_clip, by_example, cohort_sampler

NOT_COVERED = "not covered"
_TRUST = {
    "local": "nobody but the client that holds the data, and the code that it runs; the server may be curious",
    "central": "the server, which sees every update and adds the noise, and the code of the clients",
}
_TUNING = {
    "not stated": f"{NOT_COVERED}: nobody stated what the hyper-parameters were chosen by (privacy.tuning)",
    "none": "stated: hyper-parameters are published values, taken as they are; tuning cost nothing",
    "other data": "stated: hyper-parameters were chosen on other data; tuning cost nothing here",
    "same data": f"{NOT_COVERED}: hyper-parameters were chosen by runs on the same data, whose cost epsilon leaves out",
}


@dataclass(frozen=True)
class Answer:
    """One item of a checklist."""

    item: str
    answer: str

    @property
    def covered(self) -> bool:
        """Whether the run answers it."""
        return not self.answer.startswith(NOT_COVERED)


def statement(
    plan: Plan, spent: PrivacySpent | None, findings: Sequence[Finding], versions: Mapping[str, str], rounds: int
) -> dict[str, Any]:
    """Return what ``statement.json`` holds.

    Args:
        plan: the run's plan.
        spent: what the account that spent most has spent; None without a claim.
        findings: of the audit, as far as it was made.
        versions: of the libraries that made the run.
        rounds: how many were charged to that account.
    """
    if spent is None:
        text = "No privacy is claimed: updates and models may reveal what clients hold to whoever sees them."
        return {"paragraph": text, "claim": None, "checklists": {}, "audit": [], "versions": dict(versions)}
    facts = _facts(plan, spent, findings, rounds)
    return {
        "paragraph": _paragraph(plan, spent, findings, facts),
        "claim": {
            **spent.to_json(),
            "epsilon_by_rdp": facts["rdp"],
            "rounds": rounds,
            "strength": _tier(spent.epsilon),
        },
        "setting": {"mode": spent.mode, "trusted": _TRUST[spent.mode], "released": facts["released"]},
        "sampling": {"declared": facts["sampling"], "code": facts["sampling_checked"]},
        "tuning": _TUNING[plan.config.privacy.tuning],
        "checklists": {
            name: [{"item": each.item, "answer": each.answer, "covered": each.covered} for each in answers]
            for name, answers in (
                ("NIST SP 800-226", _nist(plan, spent, findings, facts)),
                ("How to DP-fy ML, reporting", _dp_fy(plan, spent, facts, versions)),
            )
        },
        "audit": [finding.to_json() for finding in findings],
        "versions": dict(versions),
    }


def _facts(plan: Plan, spent: PrivacySpent, findings: Sequence[Finding], rounds: int) -> dict[str, Any]:
    event = plan.round_event
    if event is None:
        raise ValueError("a claim needs the event of a round, got none")
    return {
        "rdp": epsilon([(event, rounds)], spent.delta, "RDP"),
        "sampling": _sampling(plan),
        "sampling_checked": _checked(findings, "L1 components", "sampl"),
        "released": _released(plan),
        "noise": _noise(plan),
    }


def _noise(plan: Plan) -> str:
    privacy = plan.config.privacy
    bound = privacy.max_grad_norm if by_example(plan.config) else privacy.clipping_norm
    moving = ", moved by noised counts of clients within it" if adaptive_clip(plan.config) else ""
    return (
        f"Gaussian noise of {privacy.noise_multiplier:.4g} times the bound of {bound:g}{moving} on each sum, from "
        f"ChaCha20 under a key of the operating system, "
        f"{'on an integer grid of 2^-44 of the bound' if plan.central else 'in float32'}"
    )


def _sampling(plan: Plan) -> str:
    config = plan.config
    if by_example(config):
        rate = f"{config.privacy.sampling_probability:g}"
        return f"Poisson: each example is in a step's batch with probability {rate}, independently, by secret draws"
    sampler = cohort_sampler(config)
    if sampler.amplification == "poisson":
        return (
            f"Poisson: each of {sampler.population:,} registered clients is in a round's cohort with probability "
            f"{sampler.sampling_probability:g}, independently, by secret draws"
        )
    kept = "everybody takes part" if sampler.kind == "all" else "cohorts of one size, accounted at twice the bound"
    return f"no amplification is claimed: {kept}"


def _released(plan: Plan) -> str:
    if plan.central:
        return (
            "the model of every round, to all clients and readers; cohort sizes, payload sizes and metrics stay with "
            "the trusted server and are not covered by epsilon"
        )
    return (
        "every update of every client, to the server, and all that follows from them: models, metrics on public test "
        "data, the student, this report; no loss, accuracy or number of examples leaves a client"
    )


def _checked(findings: Sequence[Finding], layer: str, word: str) -> str:
    found = [each for each in findings if each.layer == layer and word in each.claim]
    if not found:
        return f"{NOT_COVERED}: not audited (fedcomp audit)"
    broken = [each for each in found if not each.holds]
    return broken[0].sentence() if broken else f"audited, {len(found)} checks hold: {found[0].measured}"


def _tier(value: float) -> str:
    """Return what Ponomareva et al. (2023) call an epsilon of this size."""
    if value <= 1:
        return "tier 1 (epsilon at most 1): a strong formal guarantee"
    return "tier 2 (epsilon at most 10): a reasonable one" if value <= 10 else "tier 3 (epsilon above 10): a weak one"


def _paragraph(plan: Plan, spent: PrivacySpent, findings: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    broken = [each for each in findings if not each.holds]
    audited = f"The audit made {len(findings)} checks, all of which hold." if findings else "It was not audited."
    if broken:
        audited = f"The audit made {len(findings)} checks, of which {len(broken)} do not hold: {broken[0].sentence()}"
    claim = f"{spent.sentence()[0].upper()}{spent.sentence()[1:]}: {_tier(spent.epsilon)}{remark(plan.config)}"
    return (
        f"{claim}. Trusted: {_TRUST[spent.mode]}. "
        f"Released: {facts['released']}. Noise: {facts['noise']}. Sampling: {facts['sampling']}. Cross-check by Renyi "
        f"accounting: {facts['rdp']:.3f}. Tuning: {_TUNING[plan.config.privacy.tuning]}. {audited}"
    )


def _nist(plan: Plan, spent: PrivacySpent, findings: Sequence[Finding], facts: Mapping[str, Any]) -> tuple[Answer, ...]:
    enveloped = plan.config.envelope.enabled
    ledger = _checked(findings, "L4 ledger", "")
    correct = _checked(findings, "L0 replay", "")
    return (
        Answer("epsilon (and delta)", spent.sentence()),
        Answer("unit of privacy", f"one {spent.unit}; a person with several of them has spent the composition"),
        Answer("bounded or unbounded", f"neighboring relation {spent.neighboring_relation}"),
        Answer("mechanisms and composition", f"{facts['noise']}; composed by {spent.accountant}; ledger: {ledger}"),
        Answer("contribution bound", "every unit is clipped before it is summed; the code was replayed: " + correct),
        Answer("utility", "accuracy on public test data, in summary.json"),
        Answer("bias", f"{NOT_COVERED}: accuracy by group of people is not measured; whoever knows the groups has to"),
        Answer("trust model", f"{spent.mode}: trusted are {_TRUST[spent.mode]}"),
        Answer("correctness of the implementation", correct),
        Answer("floating point", "noise on an integer grid" if plan.central else f"{NOT_COVERED}: float32 noise"),
        Answer("timing and other side channels", f"{NOT_COVERED}: how long a client trains follows from its batches"),
        Answer("budget over time", f"one account for each data set and unit, over runs and restarts; {ledger}"),
        Answer("security in transit", "sealed envelopes" if enveloped else f"{NOT_COVERED}: envelopes are off"),
        Answer("security at rest", "a device's state is encrypted where it has a key file; a simulation's is not"),
        Answer("data collection exposure", f"{NOT_COVERED}: how the clients came by their data is theirs to know"),
    )


def _dp_fy(
    plan: Plan, spent: PrivacySpent, facts: Mapping[str, Any], versions: Mapping[str, str]
) -> tuple[Answer, ...]:
    accesses = "training and the movement of the bound" if adaptive_clip(plan.config) else "training"
    return (
        Answer("DP setting and who is trusted", f"{spent.mode}; trusted: {_TRUST[spent.mode]}"),
        Answer("data accesses covered", accesses),
        Answer("data accesses: tuning", _TUNING[plan.config.privacy.tuning]),
        Answer("data accesses: public slice and test rows", "taken as public; none of them is a client's"),
        Answer("final output of the mechanism", facts["released"]),
        Answer("unit of privacy", spent.unit),
        Answer("adjacency", spent.neighboring_relation),
        Answer("accountant", f"{spent.accountant} (dp-accounting {versions.get('dp-accounting', 'unknown')})"),
        Answer("accounting assumption: sampling", facts["sampling"]),
        Answer("whether the code samples so", facts["sampling_checked"]),
        Answer("formal guarantee", f"{spent.sentence()}; {_tier(spent.epsilon)}"),
        Answer("transparency", ", ".join(f"{name} {version}" for name, version in versions.items())),
    )
