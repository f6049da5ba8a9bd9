"""One round over Flower's messages: greet who is new, send the model, fold in the updates as they arrive."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flwr.app import Message, MessageType
from flwr.serverapp import Grid

from fedcomp.aggregation import ServerModel
from fedcomp.arrays import Array, digest, fp32_bytes, num_values
from fedcomp.codecs import codec_from_config
from fedcomp.errors import FedcompError
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.flower.peers import Peer, Self
from fedcomp.plan import Plan
from fedcomp.rng import stream

_WHOLE = codec_from_config([])
"""How a client that holds nothing gets the model: losslessly, so that all hold the same."""
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class RoundOutcome:
    """What came of a round."""

    mean: dict[str, Array] | None
    """The mean update; None if no update was counted."""
    cohort: int
    survivors: int
    uplink_bytes: int
    downlink_bytes: int
    uplink_fp32_bytes: int
    downlink_fp32_bytes: int
    refused: tuple[dict[str, str], ...]


@dataclass
class Traffic:
    """Bytes of one round, as they travel: headers, keys and refusals included."""

    up: int = 0
    down: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)

    def refuse(self, client: str, reason: object) -> None:
        """Note a client that the round goes on without."""
        self.refused.append({"client": client, "reason": str(reason)})


class Rounds:
    """The server's end of all rounds of one run; remembers which clients it has met."""

    def __init__(self, grid: Grid, plan: Plan, own: Self) -> None:
        self._grid, self._plan, self._own = grid, plan, own
        self._peers: dict[int, Peer] = {}

    def run(self, round_number: int, nodes: Sequence[int], server_model: ServerModel) -> RoundOutcome:
        """Run one round with the clients at ``nodes`` and return what came of it; a client's failure never ends it."""
        traffic = Traffic()
        self._greet([node for node in nodes if node not in self._peers], traffic)
        asked = [node for node in nodes if node in self._peers]
        wanted = {node: self._model_for(self._peers[node], server_model) for node in asked}
        outgoing = {node: self._sealed(node, inner, round_number) for node, inner in wanted.items()}
        state, survivors = self._plan.aggregator.init(server_model.model), 0
        for node, content in self._exchange(MessageType.TRAIN, outgoing, traffic):
            peer = self._peers[node]
            try:
                update, num_examples = self._update(peer, content, round_number, num_values(server_model.model))
                state = self._plan.aggregator.accumulate(state, update, num_examples)
            except FedcompError as error:
                traffic.refuse(peer.name, error)
                self._forget_if_lost(node, content)
                continue
            self._peers[node] = replace(peer, version=server_model.version)
            survivors += 1
        fp32 = fp32_bytes(server_model.model)
        return RoundOutcome(
            mean=self._plan.aggregator.finish(state) if survivors else None,
            cohort=len(nodes),
            survivors=survivors,
            uplink_bytes=traffic.up,
            downlink_bytes=traffic.down,
            uplink_fp32_bytes=fp32 * survivors,
            downlink_fp32_bytes=fp32 * len(asked),
            refused=tuple(traffic.refused),
        )

    def _greet(self, nodes: Sequence[int], traffic: Traffic) -> None:
        config, public = self._plan.config.to_json(), self._own.key.public.hex()
        header = {"run": self._own.run, "config": config, "plan": self._plan.digest(), "server_key": public}
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

    def _model_for(self, peer: Peer, server: ServerModel) -> bytes:
        """Return the deltas that the peer lacks, or the whole model where it holds nothing or that is smaller."""
        header: dict[str, Any] = {"version": server.version, "digest": digest(server.released)}
        deltas = server.deltas_since(peer.version) if peer.version >= 0 else None
        if deltas is None or sum(map(len, deltas)) > fp32_bytes(server.released):
            whole = _WHOLE.encode(server.released, rng=stream(0))
            return pack(Frame({**header, "base": -1}, (whole,)))
        return pack(Frame({**header, "base": peer.version}, deltas))

    def _sealed(self, node: int, inner: bytes, round_number: int) -> bytes:
        sealed = self._own.seal(self._peers[node], inner, round_number, self._plan.downlink.digest())
        return pack(Frame({"run": self._own.run, "round": round_number}, (sealed,)))

    def _update(self, peer: Peer, content: bytes, round_number: int, max_values: int) -> tuple[dict[str, Array], int]:
        inner = unpack(self._own.open(peer, _accepted(content), round_number, self._plan.uplink.digest()))
        if len(inner.parts) != 1:
            raise FedcompError(f"expected one encoded update, got {len(inner.parts)} parts")
        weighted = self._plan.config.server.weighting == "examples"
        update = self._plan.uplink.decode(inner.parts[0], max_values=max_values)
        return update, inner.number("num_examples") if weighted else 1

    def _forget_if_lost(self, node: int, content: bytes) -> None:
        """Greet a client again that refused: it may have lost the run or the model that we think it holds."""
        if "refused" in _header(content):
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
