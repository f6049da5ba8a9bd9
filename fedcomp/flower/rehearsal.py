"""One round of a plan with real clients, in a directory that is thrown away: what do clients send?

For the auditor, who looks at every header and counts every part. Nothing is released and nothing is charged.
"""

import tempfile
from collections.abc import Iterable, Mapping

from flwr.app import Message

from fedcomp.aggregation import ServerModel
from fedcomp.audit.wire import WireReply
from fedcomp.crypto import KeyPair
from fedcomp.flower.client import client_app
from fedcomp.flower.grid import LocalGrid
from fedcomp.flower.messages import Frame, from_message, unpack
from fedcomp.flower.peers import Peer, Self
from fedcomp.flower.releases import SharedReleases
from fedcomp.flower.rounds import Rounds
from fedcomp.plan import Plan, make_plan
from fedcomp.threads import single_thread

_CLIENTS = 2
_NO_HEAD = "0" * 64


def rehearse(plan: Plan) -> tuple[WireReply, ...]:
    """Return all replies of up to two clients to one round: one to the greeting and one to the round from each.

    A client that refuses, or whose reply the server refuses, has sent one all the same.
    """
    config = plan.config
    server = config.server.model_copy(update={"release": "shared"})
    privacy = config.privacy.model_copy(update={"target_epsilon": None})
    rehearsed = make_plan(config.model_copy(update={"server": server, "privacy": privacy}))
    nodes = range(1, min(_CLIENTS, config.clients.population) + 1)
    with tempfile.TemporaryDirectory(prefix="fedcomp-rehearsal-") as place, single_thread():
        grid = _Tapped(client_app(), config.clients.population, node_config={"state-dir": place})
        own = Self("rehearsal", KeyPair.generate(), config.envelope.enabled, trusted={})
        rounds = _Tapping(grid, rehearsed, own, SharedReleases())
        rounds.run(1, list(nodes), ServerModel.initial(rehearsed.initial_model()), head=_NO_HEAD)
    return tuple(_seen(reply, dict(rounds.opened)) for reply in grid.replies)


class _Tapped(LocalGrid):
    """Keeps every reply that the server pulls."""

    replies: tuple[Message, ...] = ()

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        pulled = super().pull_messages(message_ids)
        self.replies = (*self.replies, *pulled)
        return pulled


class _Tapping(Rounds):
    """Keeps what the server finds in each envelope."""

    opened: tuple[tuple[bytes, Frame], ...] = ()

    def _inner(self, peer: Peer, content: bytes, round_number: int) -> Frame:
        frame = super()._inner(peer, content, round_number)
        self.opened = (*self.opened, (content, frame))
        return frame


def _seen(reply: Message, opened: Mapping[bytes, Frame]) -> WireReply:
    content = from_message(reply)
    frame, inner = unpack(content), opened.get(content, Frame({}))
    client = str(frame.header.get("client", f"node {reply.metadata.src_node_id}"))
    sizes = tuple(len(part) for part in inner.parts)
    return WireReply(client, reply.metadata.message_type, frame.header, inner.header, sizes)
