"""One round over Flower's messages: greet who is new, send the model, fold in the updates as they arrive."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from fedcomp.aggregation import PrivateSum, ServerModel
from fedcomp.arrays import Array, Arrays, fp32_bytes, num_values
from fedcomp.crypto import SecretStream
from fedcomp.errors import FedcompError
from fedcomp.flower.links import Link
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.flower.peers import Peer, Self
from fedcomp.flower.releases import Parcel, Releases
from fedcomp.plan import Plan

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class RoundOutcome:
    """What came of a round."""

    mean: dict[str, Array] | None
    """The mean update, noised under mode ``central``; None if no update was counted and none is claimed to be."""
    cohort: int
    counted: tuple[str, ...]
    """Clients whose update is in the mean."""
    trained: tuple[str, ...]
    """Clients that may have released an update: all that were asked, but those that said they would not."""
    uplink_bytes: int
    downlink_bytes: int
    uplink_fp32_bytes: int
    downlink_fp32_bytes: int
    refused: tuple[dict[str, str], ...]
    example: bytes = b""
    """One payload that was counted, as its client encoded it."""
    example_sent: Frame | None = None
    """What that client was sent in this round."""


@dataclass
class Traffic:
    """Bytes of one round, as they travel: headers, keys and refusals included."""

    up: int = 0
    down: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)
    declined: set[int] = field(default_factory=set)
    """Nodes that answered with a refusal instead of an update."""

    def refuse(self, client: str, reason: object) -> None:
        """Note a client that the round goes on without."""
        self.refused.append({"client": client, "reason": str(reason)})


class Rounds:
    """The server's end of all rounds of one run; remembers which clients it has met."""

    def __init__(self, grid: Grid, plan: Plan, own: Self, releases: Releases) -> None:
        self._grid, self._plan, self._own, self._releases = grid, plan, own, releases
        self._peers: dict[int, Peer] = {}
        self._links: dict[int, Link] = {}

    def run(self, round_number: int, nodes: Sequence[int], server_model: ServerModel) -> RoundOutcome:
        """Run one round with the clients at ``nodes`` and return what came of it; a client's failure never ends it."""
        traffic = Traffic()
        self._greet([node for node in nodes if node not in self._peers], traffic)
        asked = {node: self._peers[node] for node in nodes if node in self._peers}
        sent = dict(zip(asked, self._releases.parcels(list(asked.values()), server_model, round_number), strict=True))
        outgoing, started = self._outgoing(asked, sent, round_number), time.monotonic()
        # what a client holds is not known from here until it answers: who does not gets the whole model next time
        self._peers.update({node: replace(peer, version=-1, holds="") for node, peer in asked.items()})
        state: Any = self._plan.aggregator.init(server_model.model)
        fold: Callable[..., Any] = self._plan.aggregator.accumulate
        counted = []
        example, example_sent = b"", None
        for node, content in self._exchange(MessageType.TRAIN, outgoing, traffic):
            self._measure(node, len(outgoing[node]) + len(content), time.monotonic() - started, _header(content))
            try:
                payload, num_examples = self._payload(asked[node], content, round_number)
                update = self._decode(payload, sent[node].model)
                state = fold(state, update, num_examples)
            except FedcompError as error:
                traffic.refuse(asked[node].name, error)
                self._note_refusal(node, content, traffic)
                continue
            self._peers[node] = replace(asked[node], version=server_model.version, holds=sent[node].holds)
            self._releases.arrived(asked[node], sent[node])
            counted.append(asked[node].name)
            if not example:
                example, example_sent = payload, sent[node].frame
        fp32 = fp32_bytes(server_model.model)
        return RoundOutcome(
            mean=self._finish(state, some=bool(counted)),
            cohort=len(nodes),
            counted=tuple(sorted(counted)),
            trained=tuple(sorted(peer.name for node, peer in asked.items() if node not in traffic.declined)),
            uplink_bytes=traffic.up,
            downlink_bytes=traffic.down,
            uplink_fp32_bytes=fp32 * len(counted),
            downlink_fp32_bytes=fp32 * len(asked),
            refused=tuple(traffic.refused),
            example=example,
            example_sent=example_sent,
        )

    def _finish(self, state: Any, *, some: bool) -> dict[str, Array] | None:
        aggregator = self._plan.aggregator
        if isinstance(aggregator, PrivateSum):
            # a round without updates is a round of noise: skipping it would tell that nobody came
            return aggregator.release(state, SecretStream())
        return aggregator.finish(state) if some else None

    def _greet(self, nodes: Sequence[int], traffic: Traffic) -> None:
        config, public = self._plan.config.to_json(), self._own.key.public.hex()
        header = {
            "run": self._own.run,
            "config": config,
            "plan": self._plan.digest(),
            "server_key": public,
            "initial": self._plan.initial_digest,
        }
        content = pack(Frame(header))
        for node, reply in self._exchange(f"{MessageType.QUERY}.hello", dict.fromkeys(nodes, content), traffic):
            try:
                self._peers[node] = self._own.meet(_accepted(reply), self._peers)
            except FedcompError as error:
                traffic.refuse(f"node {node}", error)

    def _exchange(self, kind: str, outgoing: Mapping[int, bytes], traffic: Traffic) -> Iterator[tuple[int, bytes]]:
        """Send to each node, and yield replies as they come; who fails or is late is refused."""
        traffic.down += sum(len(content) for content in outgoing.values())
        patience = self._plan.config.server.round_timeout
        messages = [Message(to_record(content), node, kind, ttl=patience) for node, content in outgoing.items()]
        missing = dict(zip(self._grid.push_messages(messages), outgoing, strict=True))
        del messages
        deadline = time.monotonic() + patience
        while missing and time.monotonic() < deadline:
            replies = list(self._grid.pull_messages(list(missing)))
            if not replies:
                time.sleep(_POLL_SECONDS)
            for reply in replies:
                node = missing.pop(reply.metadata.reply_to_message_id, None)
                if node is not None:
                    yield from self._content(node, reply, traffic)
        for node in missing.values():
            traffic.refuse(self._name(node), f"no reply within {patience:g} s")

    def _content(self, node: int, reply: Message, traffic: Traffic) -> Iterator[tuple[int, bytes]]:
        try:
            content = from_message(reply)
        except FedcompError as error:
            traffic.refuse(self._name(node), error)
            return
        traffic.up += len(content)
        yield node, content

    def _outgoing(self, asked: Mapping[int, Peer], sent: Mapping[int, Parcel], round_number: int) -> dict[int, bytes]:
        """Return the message of each client."""
        codec = self._plan.downlink.digest()
        header = {"run": self._own.run, "round": round_number}
        outgoing = {}
        for node, peer in asked.items():
            frame = sent[node].frame
            limit = self._links.get(node, Link()).max_bytes(self._plan.config.server.upload_seconds)
            inner = pack(Frame({**frame.header, **({"max_bytes": limit} if limit else {})}, frame.parts))
            outgoing[node] = pack(Frame(header, (self._own.seal(peer, inner, round_number, codec),)))
        return outgoing

    def _measure(self, node: int, num_bytes: int, elapsed: float, header: Mapping[str, Any]) -> None:
        busy = header.get("busy")
        if self._plan.config.server.upload_seconds is not None and isinstance(busy, float):
            self._links[node] = self._links.get(node, Link()).observe(num_bytes, elapsed, busy)

    def _payload(self, peer: Peer, content: bytes, round_number: int) -> tuple[bytes, int]:
        """Return a client's encoded update, and the weight of it."""
        inner = unpack(self._own.open(peer, _accepted(content), round_number, self._plan.uplink.digest()))
        if len(inner.parts) != 1:
            raise FedcompError(f"expected one encoded update, got {len(inner.parts)} parts")
        weighted = self._plan.config.server.weighting == "examples"
        return inner.parts[0], inner.number("num_examples") if weighted else 1

    def _decode(self, payload: bytes, reference: Arrays) -> dict[str, Array]:
        return self._plan.uplink.decode(payload, max_values=num_values(reference), reference=reference)

    def _note_refusal(self, node: int, content: bytes, traffic: Traffic) -> None:
        """Greet a client again that refused: it may have lost the run that we think it is in."""
        if "refused" in _header(content):
            traffic.declined.add(node)
            del self._peers[node]

    def _name(self, node: int) -> str:
        return self._peers[node].name if node in self._peers else f"node {node}"


def _accepted(content: bytes) -> Frame:
    frame = unpack(content)
    if "refused" in frame.header:
        raise FedcompError(f"the client refused: {frame.text('refused')[:500]}")
    return frame


def _header(content: bytes) -> Mapping[str, Any]:
    try:
        return unpack(content).header
    except FedcompError:
        return {}
