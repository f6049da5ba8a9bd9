"""L0 on the wire: what a reply says beside its payload. Whatever is not declared there is an unbooked release."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcomp.audit.finding import Finding, judged

_HOW = "one round rehearsed by the real client and server; no chance of error"


@dataclass(frozen=True)
class WireReply:
    """One reply of a client, as the server reads it once the envelope is open.

    ``kind`` is the type of the message: ``train``, or the greeting's. ``outer`` is the header of the message, ``inner``
    that of what was sealed, ``payloads`` the sizes of the parts in it.
    """

    client: str
    kind: str
    outer: Mapping[str, Any]
    inner: Mapping[str, Any]
    payloads: tuple[int, ...]


@dataclass(frozen=True)
class Declared:
    """The names that headers of replies may have: of a greeting, of a round's reply, and of what is sealed in it."""

    greeting: frozenset[str]
    outer: frozenset[str]
    inner: frozenset[str]


def check_replies(replies: Sequence[WireReply], declared: Declared) -> Finding:
    """Return whether clients replied to a round with one payload each, and no reply says more than is declared."""
    updates = [reply for reply in replies if reply.kind == "train"]
    problems = [problem for reply in replies for problem in _problems(reply, declared)]
    names = sorted({name for reply in updates for name in (*reply.outer, *reply.inner)})
    measured = f"{len(updates)} updates, one payload each; headers: {', '.join(names)}"
    return judged(
        "L0 replay",
        "a client's reply holds its one protected update, and nothing that was not declared",
        bool(updates) and not problems,
        "; ".join(problems[:3]) if problems else measured,
        _HOW,
    )


def _problems(reply: WireReply, declared: Declared) -> Iterator[str]:
    train = reply.kind == "train"
    if "refused" in reply.outer:
        yield f"{reply.client} refused: {str(reply.outer['refused'])[:200]}"
        return
    extra = set(reply.outer) - (declared.outer if train else declared.greeting)
    extra |= set(reply.inner) - declared.inner
    if extra:
        yield f"{reply.client} sent what was not declared: {', '.join(sorted(extra))}"
    if len(reply.payloads) != int(train):
        yield f"{reply.client} sent {len(reply.payloads)} payloads in reply to {reply.kind}"
