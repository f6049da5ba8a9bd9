"""One round over Flower's messages: greet who is new, send the model, fold in the updates as they arrive."""

import reprlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from fedcomp.aggregation import PrivateSum, ServerModel, UniformMean, WidthMean
from fedcomp.arrays import Array, Arrays, fp32_bytes, num_values
from fedcomp.crypto import SecretStream
from fedcomp.errors import FedcompError
from fedcomp.flower.ledgers import digest_in, digest_of
from fedcomp.flower.links import Link
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.flower.peers import Peer, Self
from fedcomp.flower.releases import Parcel, Releases
from fedcomp.plan import Plan
from fedcomp.plan.fusion import Fusion
from fedcomp.privacy import AdaptiveClip, Receipt
from fedcomp.terms import adaptive_clip, server_mechanism

_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class RoundOutcome:
    """What came of a round."""

    mean: dict[str, Array] | None
    """The mean update, noised under mode ``central``, distilled where fusion was due; None if no update was counted and
    none is claimed to be."""
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
    clipping_norm: float = 0.0
    """The bound of the next round where that moves; noised, and covered by the round's event."""
    receipts: tuple[Receipt, ...] = ()
    """Under mode ``local``: of each update that was counted, its digest and its client's ledger's head."""
    fusion: Mapping[str, float] | None = None
    """What fusion did, where it was due: see ``Fusion.fuse``."""


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
    """The server's end of all rounds of one run; remembers which clients it has met.

    ``fusion`` is the plan's (``make_fusion``); without it, updates are averaged alone.
    """

    def __init__(self, grid: Grid, plan: Plan, own: Self, releases: Releases, fusion: Fusion | None = None) -> None:
        self._grid, self._plan, self._own, self._releases, self._fusion = grid, plan, own, releases, fusion
        self._clip, self._weighted = adaptive_clip(plan.config), plan.config.server.weighting == "examples"
        self._peers: dict[int, Peer] = {}
        self._links: dict[int, Link] = {}

    def run(
        self,
        round_number: int,
        nodes: Sequence[int],
        server_model: ServerModel,
        clipping_norm: float = 0.0,
        head: str = "",
    ) -> RoundOutcome:
        """Run one round with the clients at ``nodes`` and return what came of it; a client's failure never ends it.

        ``clipping_norm`` is the round's bound where that moves, or 0 for the first round; ``head`` is that of the
        server's records, which clients keep, or empty.
        """
        clip = self._clip and replace(self._clip, clipping_norm=clipping_norm or self._clip.clipping_norm)
        traffic = Traffic()
        self._greet([node for node in nodes if node not in self._peers], traffic)
        asked = {node: self._peers[node] for node in nodes if node in self._peers}
        sent = dict(zip(asked, self._releases.parcels(list(asked.values()), server_model, round_number), strict=True))
        outgoing, started = self._outgoing(asked, sent, round_number, clip, head), time.monotonic()
        # what a client holds is not known from here until it answers: who does not gets the whole model next time
        self._peers.update({node: replace(peer, version=-1, holds="") for node, peer in asked.items()})
        aggregator: Any = self._aggregator(round_number, clip)
        state = aggregator.init(server_model.model)
        counted, within, receipts, uplink_fp32, example, example_sent = [], [], [], 0, b"", None
        for node, content in self._exchange(MessageType.TRAIN, outgoing, traffic):
            self._measure(node, len(outgoing[node]) + len(content), time.monotonic() - started, _header(content))
            try:
                inner = self._inner(asked[node], content, round_number)
                update = self._decode(inner, sent[node].model)
                bit, weight = _bit(inner) if clip else False, inner.number("num_examples") if self._weighted else 1
                kept = self._receipts(inner, asked[node].name, round_number)
                state = aggregator.accumulate(state, update, weight)
            except FedcompError as error:
                traffic.refuse(asked[node].name, error)
                self._note_refusal(node, content, traffic)
                continue
            self._arrived(node, asked[node], sent[node], server_model.version)
            counted.append(asked[node].name)
            within.append(bit)
            receipts += kept
            uplink_fp32 += fp32_bytes(update)
            if not example:
                example, example_sent = inner.parts[0], sent[node].frame
        mean, fusion = _finish(aggregator, state, some=bool(counted))
        return RoundOutcome(
            mean=mean,
            cohort=len(nodes),
            counted=tuple(sorted(counted)),
            trained=tuple(sorted(peer.name for node, peer in asked.items() if node not in traffic.declined)),
            uplink_bytes=traffic.up,
            downlink_bytes=traffic.down,
            uplink_fp32_bytes=uplink_fp32,
            downlink_fp32_bytes=fp32_bytes(server_model.model) * len(asked),
            refused=tuple(traffic.refused),
            example=example,
            example_sent=example_sent,
            clipping_norm=_following(clip, within),
            receipts=tuple(receipts),
            fusion=fusion,
        )

    def _aggregator(self, number: int, clip: AdaptiveClip | None) -> UniformMean | PrivateSum | WidthMean | Fusion:
        if self._fusion is not None:
            return self._fusion.in_round(number)
        aggregator = self._plan.aggregator
        if clip is None or not isinstance(aggregator, PrivateSum):
            return aggregator
        return replace(aggregator, mechanism=server_mechanism(self._plan.config, clip.clipping_norm))

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

    def _outgoing(
        self,
        asked: Mapping[int, Peer],
        sent: Mapping[int, Parcel],
        round_number: int,
        clip: AdaptiveClip | None,
        head: str,
    ) -> dict[int, bytes]:
        """Return the message of each client."""
        codec = self._plan.downlink.digest()
        header = {"run": self._own.run, "round": round_number}
        outgoing = {}
        for node, peer in asked.items():
            frame = sent[node].frame
            limit = self._links.get(node, Link()).max_bytes(self._plan.config.server.upload_seconds)
            bound = clip.clipping_norm if clip else None
            more = {"max_bytes": limit, "clipping_norm": bound, "head": head}
            told = {name: value for name, value in more.items() if value}
            inner = pack(Frame({**frame.header, **told}, frame.parts))
            outgoing[node] = pack(Frame(header, (self._own.seal(peer, inner, round_number, codec),)))
        return outgoing

    def _measure(self, node: int, num_bytes: int, elapsed: float, header: Mapping[str, Any]) -> None:
        busy = header.get("busy")
        if self._plan.config.server.upload_seconds is not None and isinstance(busy, float):
            self._links[node] = self._links.get(node, Link()).observe(num_bytes, elapsed, busy)

    def _inner(self, peer: Peer, content: bytes, round_number: int) -> Frame:
        """Return a client's encoded update and what it says about it."""
        inner = unpack(self._own.open(peer, _accepted(content), round_number, self._plan.uplink.digest()))
        if len(inner.parts) != 1:
            raise FedcompError(f"expected one encoded update, got {len(inner.parts)} parts")
        return inner

    def _arrived(self, node: int, peer: Peer, parcel: Parcel, version: int) -> None:
        """Remember what a client holds that answered."""
        self._peers[node] = replace(peer, version=version, holds=parcel.holds)
        self._releases.arrived(peer, parcel)

    def _receipts(self, inner: Frame, client: str, round_number: int) -> list[Receipt]:
        """Return the receipt of an update where its client charges itself; an update without a head does not count."""
        if self._plan.config.privacy.mode != "local":
            return []
        head, key = digest_in(inner, "head"), digest_in(inner, "ledger")
        return [Receipt(round_number, client, head, key, digest_of(inner.parts[0]))]

    def _decode(self, inner: Frame, model: Arrays) -> dict[str, Array]:
        """Return an update, decoded with what its client holds of ``model``: all, or what its width has."""
        narrow = self._plan.narrow_of(inner.number("width")) if self._plan.narrows else None
        reference = model if narrow is None else narrow.slices.take(model)
        return self._plan.uplink.decode(inner.parts[0], max_values=num_values(reference), reference=reference)

    def _note_refusal(self, node: int, content: bytes, traffic: Traffic) -> None:
        """Greet a client again that refused: it may have lost the run that we think it is in."""
        if "refused" in _header(content):
            traffic.declined.add(node)
            del self._peers[node]

    def _name(self, node: int) -> str:
        return self._peers[node].name if node in self._peers else f"node {node}"


def _finish(
    aggregator: UniformMean | PrivateSum | WidthMean | Fusion, state: Any, *, some: bool
) -> tuple[dict[str, Array] | None, dict[str, float] | None]:
    if isinstance(aggregator, PrivateSum):
        # a round without updates is a round of noise: skipping it would tell that nobody came
        return aggregator.release(state), None
    if not some:
        return None, None
    return aggregator.fuse(state) if isinstance(aggregator, Fusion) else (aggregator.finish(state), None)


def _following(clip: AdaptiveClip | None, within: Sequence[bool]) -> float:
    """Return the bound of the next round, or 0 if none moves."""
    return clip.following(sum(within), len(within) - sum(within), SecretStream()) if clip else 0.0


def _bit(inner: Frame) -> bool:
    """Return whether a client's norm was within the bound; anything but one bit would move the sum too far."""
    value = inner.number("within")
    if value not in (0, 1):
        raise FedcompError(f"expected within to be 0 or 1, got {reprlib.repr(value)}")
    return bool(value)


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
