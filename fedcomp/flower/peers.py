"""The clients that the server has met in this run: their names, keys, and which model version each holds."""

import reprlib
from collections.abc import Mapping
from dataclasses import dataclass

from fedcomp.crypto import Channel, EnvelopeError, Header, KeyPair
from fedcomp.errors import FedcompError
from fedcomp.flower.messages import SERVER, Frame

MAX_NAME = 128
"""Bytes of a client's name, in UTF-8."""
_KEY_BYTES = 32


class PeerError(FedcompError):
    """A client that is not who it says, or answers what nobody asked."""


@dataclass(frozen=True)
class Peer:
    """One client, as the server knows it."""

    name: str
    version: int
    """The model version that it holds; -1 if none, or if it is not known."""
    holds: str
    """The name of the model that it holds; empty if none, or if it is not known."""
    channel: Channel | None


@dataclass(frozen=True)
class Self:
    """The server's own side of every channel."""

    run: str
    key: KeyPair
    sealed: bool
    trusted: Mapping[str, bytes]
    """Public keys by client name, if they are pinned; empty if the first key that comes is trusted."""

    def meet(self, hello: Frame, known: Mapping[int, Peer]) -> Peer:
        """Return the peer that a client's reply to ``hello`` introduces.

        Raises:
            PeerError: if its name is taken or none that an envelope can carry, or its key is not the pinned one.
            EnvelopeError: if its key is not one.
        """
        name, public = _name(hello.text("client")), _key(hello.text("public_key"))
        if any(peer.name == name for peer in known.values()):
            raise PeerError(f"{name!r} is the name of another client of this run")
        if self.trusted and self.trusted.get(name) != public:
            raise PeerError(f"{name!r}: its public key is not the pinned one")
        channel = Channel(self.key, public, self.run) if self.sealed else None
        return Peer(name, hello.number("version"), hello.text("holds"), channel)

    def seal(self, peer: Peer, payload: bytes, round_number: int, codec_digest: str) -> bytes:
        """Return a downlink payload as it travels to ``peer``."""
        if peer.channel is None:
            return payload
        header = Header(self.run, round_number, SERVER, peer.name, "downlink", codec_digest)
        return peer.channel.seal(payload, header)

    def open(self, peer: Peer, reply: Frame, round_number: int, codec_digest: str) -> bytes:
        """Return the uplink payload in ``reply``.

        Raises:
            EnvelopeError: if it is not exactly what ``peer`` should send in this round.
            PeerError: if it has no payload, or names another client or round.
        """
        if len(reply.parts) != 1 or reply.text("client") != peer.name or reply.number("round") != round_number:
            got = f"{len(reply.parts)} parts and header {reprlib.repr(dict(reply.header))}"
            raise PeerError(f"expected one payload of {peer.name!r} for round {round_number}, got {got}")
        if peer.channel is None:
            return reply.parts[0]
        header = Header(self.run, round_number, peer.name, SERVER, "uplink", codec_digest)
        return peer.channel.open(reply.parts[0], header)


def _name(text: str) -> str:
    # it goes into envelopes, log lines and reports; longer names would fail only when the first payload is sealed
    if not text.isprintable() or not 0 < len(text.encode()) <= MAX_NAME or text == SERVER:
        raise PeerError(
            f"client name: expected 1 to {MAX_NAME} bytes of printable text other than {SERVER!r}, "
            f"got {reprlib.repr(text)}"
        )
    return text


def _key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise EnvelopeError("foreign key", "the public key is not hexadecimal") from error
    if len(key) != _KEY_BYTES:
        raise EnvelopeError("foreign key", f"expected a public key of {_KEY_BYTES} bytes, got {len(key)}")
    return key
