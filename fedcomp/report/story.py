"""A run in plain language, for a reader who answers for the data and has never seen a privacy parameter."""

import math
from dataclasses import dataclass

from fedcomp.report import bounds, units
from fedcomp.report.guarantee import example_guarantee, tpr_bound
from fedcomp.report.load import RunFiles
from fedcomp.report.schema import Summary

_WHOM = {
    "local": "against everyone else: the server, the other clients, and whoever gets a released model. The noise is "
    "added on the client, before anything leaves it, so nobody has to be trusted but the client that holds the data.",
    "central": "against the other clients and whoever gets a released model. The server is trusted: it sees the "
    "update of each client and adds the noise to their sum.",
    "distributed": "against the server, the other clients, and whoever gets a released model. The server sees only the "
    "noisy sum of a round; the protection counts on the agreed minimum of clients to answer honestly.",
}


@dataclass(frozen=True)
class Paragraph:
    """A question that a privacy officer asks, and the answer."""

    heading: str
    text: str


def story(run: RunFiles) -> list[Paragraph]:
    """Return what was trained, who is protected against whom, how strongly, what was sent, and what an attack found."""
    return [
        Paragraph("What was trained", _trained(run.summary)),
        Paragraph("Who is protected, and against whom", _protected(run)),
        Paragraph("How strong the protection is", _strength(run)),
        Paragraph("What was sent", _sent(run)),
        Paragraph("What an attack found", _attacked(run.summary)),
    ]


def is_private(summary: Summary) -> bool:
    """Tell whether any privacy is claimed: epsilon is a finite number."""
    return summary.epsilon.value is not None and math.isfinite(summary.epsilon.value)


def _trained(run: Summary) -> str:
    who = _counted(run.clients.population, "client")
    asked = (
        "" if run.clients.cohort == run.clients.population else f", {run.clients.cohort:,} of them asked in a round,"
    )
    text = (
        f"{who}{asked} trained one model for the task “{run.task}” together in {_counted(run.rounds, 'round')}, on "
        f"{_counted(run.data.train, 'example')} that stayed where they were. Of {run.data.test:,} test examples the "
        f"model gets {units.percent(run.accuracy.global_)} right."
    )
    if run.student is None or run.accuracy.student is None:
        return text
    text += (
        f" A smaller model, the student, learned from it on {run.data.public:,} public examples that no client holds, "
        f"and gets {units.percent(run.accuracy.student)} right"
    )
    free = "; made of released and public data alone, it costs no more privacy" if is_private(run) else ""
    return f"{text}{free}."


def _protected(run: RunFiles) -> str:
    spent = run.summary.epsilon
    if not is_private(run.summary):
        sealed = " Encryption kept eavesdroppers out, and nobody else." if run.sealed else ""
        open_ = "Updates and models may reveal what a client holds to whoever sees them."
        return f"Nobody: no privacy is claimed. {open_}{sealed}"
    every = f"Every single {spent.unit or 'unit'} of every client"
    unit = "All that one client holds" if spent.unit == "client" else every
    return f"{unit} is protected {_WHOM.get(spent.mode, f'as mode “{spent.mode}” defines it.')}"


def _strength(run: RunFiles) -> str:
    spent = run.summary.epsilon
    if not is_private(run.summary):
        return f"Epsilon is {bounds.epsilon(spent.value)}. No number bounds what an attacker may learn."
    text = spent.sentence or f"Epsilon {bounds.epsilon(spent.value)} at delta {bounds.delta(spent.delta)}."
    guarantee = example_guarantee(run)
    if guarantee is None:
        return text
    return (
        f"{text} Read as an attack: whoever wrongly accuses 1 % of the examples outside the training data can "
        f"recognise at most {bounds.percent(tpr_bound(0.01, *guarantee))} of those inside it, however the attack works."
    )


def _sent(run: RunFiles) -> str:
    summary = run.summary
    encrypted = "each in an encrypted and authenticated envelope" if run.sealed else "not encrypted by fedcomp"
    refused = "No payload was refused."
    if summary.refused:
        refused = (
            f"{_counted(summary.refused, 'payload')} {'was' if summary.refused == 1 else 'were'} refused, and not used."
        )
    up = _against_fp32(summary.uplink_bytes, summary.uplink_fp32_bytes)
    down = _against_fp32(summary.downlink_bytes, summary.downlink_fp32_bytes)
    return (
        f"Model updates and models, {encrypted}; no examples. Clients sent {up} in all, and received {down}. {refused}"
    )


def _attacked(run: Summary) -> str:
    if run.leakage is None:
        return "No attack was run on the models of this run: nothing was measured about what they leak."
    text = f"Asked who was in the training data, the attack scored {run.leakage.membership_auc:.3f} on the global model"
    if run.leakage.student is not None:
        text += f" and {run.leakage.student.membership_auc:.3f} on the student"
    text += " (0.5 is a coin toss, 1 is certainty)."
    if run.leakage.tpr_at_percent is not None:
        text += (
            f" Allowed to accuse 1 % of the others wrongly, it recognised {units.percent(run.leakage.tpr_at_percent)} "
            "of those who were in it."
        )
    return f"{text} That is what this attack found; a better one may find more{_up_to(run)}."


def _up_to(run: Summary) -> str:
    return ", up to the bound above" if is_private(run) else ""


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _against_fp32(real: int, fp32: int) -> str:
    return f"{units.size(real)} ({units.times(fp32 / real)} than in fp32)" if real else "nothing"
