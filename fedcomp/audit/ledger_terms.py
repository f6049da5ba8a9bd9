"""What a run's plan says that its ledger has to hold, as plain values, and whether each of its charges does."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fedcomp.privacy import Charge, DpEvent, Entry, UnsupportedEvent, event_to_json
from fedcomp.privacy.accounting import NEIGHBORING_RELATION
from fedcomp.privacy.events import flatten, unhex

_CLOSE = 1e-9


@dataclass(frozen=True)
class ExpectedAccount:
    """One account of a run.

    Attributes:
        subject: its name in the ledger.
        client: whose it is, as the anchors name it; empty for the account that all share under mode ``central``.
        counted: how many releases of this run the server counted: of this client's updates under mode ``local``, of
            rounds under mode ``central``.
    """

    subject: str
    client: str
    counted: int


@dataclass(frozen=True)
class ExpectedCharges:
    """The terms of one run: every charge of it has to be made under exactly these.

    Attributes:
        run: the run's name in the ledger.
        event: the privacy event of one release.
        sensitivity, noise_std: of one release; None where the bound moves from round to round.
        sampler, sampling_probability, unit, neighboring_relation: as in ``Charge``.
        accounts: those that the ledger at hand should hold.
        noise_over_sensitivity: ``noise_std / sensitivity``, where that is not the noise multiplier of the event: where
            the bound moves, the event covers the clients' bits too, and the sum gets more noise.
        codec_digest: as in ``Charge``; empty if it is not compared.
        released: digest of the model that the last round released, under mode ``central``; empty if not compared.
    """

    run: str
    event: DpEvent
    sensitivity: float | None
    noise_std: float | None
    sampler: str
    sampling_probability: float
    unit: str
    accounts: tuple[ExpectedAccount, ...]
    noise_over_sensitivity: float | None = None
    neighboring_relation: str = NEIGHBORING_RELATION
    codec_digest: str = ""
    released: str = ""


def first_of(problems: Iterable[str], limit: int = 1) -> tuple[str, ...]:
    """Return the first problems of one kind, the last of them with how many more there are; empty if there is none."""
    found = list(problems)
    if len(found) <= limit:
        return tuple(found)
    return (*found[: limit - 1], f"{found[limit - 1]} (and {len(found) - limit} more like it)")


def term_problems(entries: Sequence[Entry], expected: ExpectedCharges) -> Iterator[str]:
    """Yield one sentence for each charge of the run that is not made under its terms."""
    for entry in entries:
        charge = entry.charge
        if charge.run != expected.run:
            continue
        for name, want, got in _differences(charge, expected):
            yield (
                f"ledger entry {entry.index}: round {charge.server_round} of {charge.subject!r} is charged with {name} "
                f"{got}, the plan says {want}"
            )


def other_accounts(entries: Sequence[Entry], expected: ExpectedCharges) -> Iterator[str]:
    """Yield one sentence for each charge of the run to an account that was not expected: it hides nothing."""
    subjects = {account.subject for account in expected.accounts}
    for entry in entries:
        if entry.charge.run == expected.run and entry.charge.subject not in subjects:
            yield f"ledger entry {entry.index}: it charges {entry.charge.subject!r}, of which nothing was expected"


def order_problems(entries: Sequence[Entry], run: str) -> Iterator[str]:
    """Yield one sentence for each charge of the run whose round is not after the one before it in its session."""
    last: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        charge = entry.charge
        if charge.run != run:
            continue
        before = last.get((charge.subject, charge.release))
        if before is not None and before.charge.server_round >= charge.server_round:
            yield (
                f"ledger entry {entry.index}: round {charge.server_round} of {charge.subject!r} is charged after round "
                f"{before.charge.server_round} (entry {before.index}) of the same session"
            )
        last[charge.subject, charge.release] = entry


def doubtful_terms(entries: Sequence[Entry], run: str) -> Iterator[str]:
    """Yield one sentence for each charge of another run, whose plan is not known, that contradicts itself."""
    for entry in entries:
        charge = entry.charge
        if charge.run == run or not charge.sensitivity:
            continue
        multiplier, probability = noise_and_sampling(charge.event)
        if charge.noise_std < multiplier * charge.sensitivity * (1 - _CLOSE):
            yield (
                f"ledger entry {entry.index} (run {charge.run!r}): noise_std {charge.noise_std:g} is less than its "
                f"event's multiplier times its sensitivity, {multiplier * charge.sensitivity:g}"
            )
        if probability < charge.sampling_probability * (1 - _CLOSE):
            yield (
                f"ledger entry {entry.index} (run {charge.run!r}): its event is sampled with probability "
                f"{probability:g}, the entry says {charge.sampling_probability:g}"
            )


def noise_and_sampling(event: DpEvent) -> tuple[float, float]:
    """Return the largest noise multiplier and the largest sampling probability among an event's elementary ones."""
    noise, probability = 0.0, 0.0
    for elementary in flatten([(event, 1)]):
        tree = event_to_json(elementary)
        sampled = tree["kind"] == "poisson_sampled"
        probability = max(probability, unhex(tree["sampling_probability"]) if sampled else 1.0)
        inner = tree["event"] if sampled else tree
        noise = max(noise, unhex(inner.get("noise_multiplier", (0.0).hex())))
    return noise, probability


def _differences(charge: Charge, expected: ExpectedCharges) -> Iterator[tuple[str, str, str]]:
    """Yield name, expected value and actual value of each term that differs."""
    if _json(charge.event) != _json(expected.event):
        yield "event", str(expected.event), str(charge.event)
    if charge.count != 1:
        yield "count", "1", str(charge.count)
    for name in ("unit", "neighboring_relation", "sampler", "codec_digest"):
        want, got = getattr(expected, name), getattr(charge, name)
        if want != got and (want or name != "codec_digest"):
            yield name, repr(want), repr(got)
    for name in ("sensitivity", "noise_std", "sampling_probability"):
        want, got = getattr(expected, name), getattr(charge, name)
        if want is not None and not math.isclose(want, got, rel_tol=_CLOSE):
            yield name, f"{want:g}", f"{got:g}"
    ratio = expected.noise_over_sensitivity or noise_and_sampling(expected.event)[0]
    if not math.isclose(charge.noise_std, ratio * charge.sensitivity, rel_tol=_CLOSE):
        want = f"{ratio * charge.sensitivity:g} (multiplier {ratio:g} times sensitivity {charge.sensitivity:g})"
        yield "noise_std", want, f"{charge.noise_std:g}"


def _json(event: DpEvent) -> object:
    try:
        return event_to_json(event)
    except UnsupportedEvent as error:
        return str(error)
