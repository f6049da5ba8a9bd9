"""How a client gets from the model that it holds to the one that it is to train: one release for all, or one for each.

Whatever is sent names the model that it starts from and the one that it leads to, by digest. So a client never decodes
against a base that it does not hold, and knows when what it decoded is not what the server meant.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedcomp.aggregation import ServerModel
from fedcomp.arrays import Arrays, add, fp32_bytes, subtract
from fedcomp.codecs import Codec
from fedcomp.codecs.deltas import WHOLE, model_name
from fedcomp.flower.messages import Frame
from fedcomp.flower.peers import Peer
from fedcomp.rng import stream
from fedcomp.state import ClientState


@dataclass(frozen=True, eq=False)
class Parcel:
    """What is sent to one client, and the model that it decodes to."""

    frame: Frame
    model: Arrays
    holds: str
    """The name of ``model``: see ``fedcomp.codecs.deltas.model_name``."""


class Releases(Protocol):
    """What the server sends, and what it remembers of who holds what."""

    def parcels(self, peers: Sequence[Peer], server: ServerModel, round_number: int) -> list[Parcel]:
        """Return what each of ``peers`` gets in a round."""
        ...

    def arrived(self, peer: Peer, parcel: Parcel) -> None:
        """Remember that a client answered, and so holds the parcel's model."""
        ...


class SharedReleases:
    """All clients hold the same models: who was away gets every delta since, or the whole model where that is less."""

    def parcels(self, peers: Sequence[Peer], server: ServerModel, round_number: int) -> list[Parcel]:
        """Return what each of ``peers`` gets; clients that hold the same version get the same, made once."""
        holds = model_name(server.released)
        frames = {held: _frame(*held, server, holds) for held in {(peer.version, peer.holds) for peer in peers}}
        return [Parcel(frames[peer.version, peer.holds], server.released, holds) for peer in peers]

    def arrived(self, peer: Peer, parcel: Parcel) -> None:
        """Remember nothing: the version says it all."""


class EachRelease:
    """Every client holds a model of its own: what it gets is coded against that, and kept here for the next time.

    What coding lost for a client goes out with its next delta, because that is taken to the server's model again: error
    feedback with a state a client.
    """

    def __init__(self, codec: Codec, seed: int, initial: Arrays, held: ClientState) -> None:
        self._codec, self._seed, self._held = codec, seed, held
        self._initial, self._initial_name = initial, model_name(initial)

    def parcels(self, peers: Sequence[Peer], server: ServerModel, round_number: int) -> list[Parcel]:
        """Return what each of ``peers`` gets: a delta from what it holds, or the whole model if that is not known."""
        return [self._parcel(peer, server, round_number) for peer in peers]

    def arrived(self, peer: Peer, parcel: Parcel) -> None:
        """Keep what the client holds now."""
        kept = {"model": WHOLE.encode(parcel.model, rng=stream(0)), "name": parcel.holds.encode()}
        self._held.save(peer.name, kept)

    def _parcel(self, peer: Peer, server: ServerModel, round_number: int) -> Parcel:
        base = self._base(peer)
        if base is None:
            holds = model_name(server.model)
            return Parcel(_whole(server.model, server.version, holds), server.model, holds)
        rng: np.random.Generator = stream(self._seed, "downlink", peer.name, round_number)
        delta = self._codec.encode(subtract(server.model, base), rng)
        model = add(base, self._codec.decode(delta))
        holds = model_name(model)
        header = {"base": peer.holds, "version": server.version, "digest": holds}
        return Parcel(Frame(header, (delta,)), model, holds)

    def _base(self, peer: Peer) -> Arrays | None:
        if peer.holds == self._initial_name:
            return self._initial
        kept: Mapping[str, bytes] = self._held.load(peer.name)
        if not peer.holds or kept.get("name") != peer.holds.encode():
            return None
        return WHOLE.decode(kept["model"])


def _frame(version: int, base: str, server: ServerModel, holds: str) -> Frame:
    """Return the deltas from ``version``, or the whole model where a client holds nothing (-1) or that is smaller."""
    deltas = server.deltas_since(version) if version >= 0 else None
    if deltas is None or sum(map(len, deltas)) > fp32_bytes(server.released):
        return _whole(server.released, server.version, holds)
    return Frame({"base": base, "version": server.version, "digest": holds}, deltas)


def _whole(model: Arrays, version: int, holds: str) -> Frame:
    return Frame({"base": "", "version": version, "digest": holds}, (WHOLE.encode(model, rng=stream(0)),))
