"""Who the clients are: names are taken once, keys are those that were pinned, payloads those that were asked for."""

import pytest

from fedcomp.crypto import Channel, EnvelopeError, Header, KeyPair
from fedcomp.errors import FedcompError
from fedcomp.flower.messages import Frame, MessageError
from fedcomp.flower.peers import Peer, PeerError, Self

RUN, CODEC = "run-1", "0123456789abcdef"
SERVER, ALICE, BOB = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()


def own(*, sealed: bool = True, trusted: dict[str, bytes] | None = None) -> Self:
    return Self(RUN, SERVER, sealed, trusted or {})


def hello(name: object = "alice", public: object = ALICE.public.hex(), version: object = -1) -> Frame:
    return Frame({"client": name, "public_key": public, "version": version, "holds": "ab12"})


def reply(payload: bytes, name: str = "alice", round_number: int = 3, **header) -> Frame:
    return Frame({"client": name, "round": round_number, **header}, (payload,))


def sealed_by(key: KeyPair, payload: bytes, **changes) -> bytes:
    about = {"run": RUN, "server_round": 3, "sender": "alice", "receiver": "server", "kind": "uplink"}
    header = Header(**{**about, "codec_digest": CODEC, **changes})
    return Channel(key, SERVER.public, header.run).seal(payload, header)


def test_a_client_is_met():
    peer = own().meet(hello(version=4), {})
    assert (peer.name, peer.version, peer.holds) == ("alice", 4, "ab12")
    assert peer.channel is not None
    assert own(sealed=False).meet(hello(), {}) == Peer("alice", -1, "ab12", None)


def test_payloads_go_both_ways():
    server, peer = own(), own().meet(hello(), {})
    sealed = server.seal(peer, b"model", 3, CODEC)
    assert b"model" not in sealed
    at_alice = Channel(ALICE, SERVER.public, RUN)
    assert at_alice.open(sealed, Header(RUN, 3, "server", "alice", "downlink", CODEC)) == b"model"
    assert server.open(peer, reply(sealed_by(ALICE, b"update")), 3, CODEC) == b"update"


def test_without_envelopes_payloads_travel_as_they_are():
    server = own(sealed=False)
    peer = server.meet(hello(), {})
    assert server.seal(peer, b"model", 3, CODEC) == b"model"
    assert server.open(peer, reply(b"update"), 3, CODEC) == b"update"


def test_a_name_is_taken_once():
    server = own()
    known = {7: server.meet(hello(), {})}
    with pytest.raises(PeerError, match="'alice' is the name of another client of this run"):
        server.meet(hello(public=BOB.public.hex()), known)
    assert server.meet(hello(name="bob", public=BOB.public.hex()), known).name == "bob"


@pytest.mark.parametrize("sealed", [True, False])
def test_only_pinned_keys_are_met_where_keys_are_pinned(sealed):
    server = own(sealed=sealed, trusted={"alice": ALICE.public})
    assert server.meet(hello(), {}).name == "alice"
    with pytest.raises(PeerError, match="'alice': its public key is not the pinned one"):
        server.meet(hello(public=BOB.public.hex()), {})
    with pytest.raises(PeerError, match="'mallory': its public key is not the pinned one"):
        server.meet(hello(name="mallory"), {})


@pytest.mark.parametrize("name", ["", "server", "x" * 129, "ö" * 65, "a\nb", "a\0", "\ud800", "\u202eecila"])
def test_a_name_that_an_envelope_cannot_carry_is_refused_at_once(name):
    with pytest.raises(PeerError, match="client name: expected 1 to 128 bytes of printable text other than 'server'"):
        own().meet(hello(name=name), {})


@pytest.mark.parametrize("name", ["x" * 128, "ö" * 64, "Charité Berlin", "client-0"])
def test_a_name_that_is_accepted_can_be_sealed_for(name):
    server = own()
    assert server.seal(server.meet(hello(name=name), {}), b"model", 3, CODEC)


def test_why_names_are_checked_when_they_come():
    """The control: a name that is too long fails only when a payload is sealed, with an error that ends the run."""
    peer = Peer("x" * 300, -1, "", Channel(SERVER, ALICE.public, RUN))
    with pytest.raises(ValueError, match="must be at most 255 bytes") as caught:
        own().seal(peer, b"model", 3, CODEC)
    assert not isinstance(caught.value, FedcompError)


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("public", ["", "zz", "ab" * 31, "ab" * 33, "00" * 16])
def test_what_is_no_key_is_refused(sealed, public):
    with pytest.raises(EnvelopeError) as caught:
        own(sealed=sealed).meet(hello(public=public), {})
    assert caught.value.reason == "foreign key"


@pytest.mark.parametrize("public", ["00" * 32, SERVER.public.hex()], ids=["low order", "the server's own"])
def test_a_key_that_protects_nothing_is_refused(public):
    with pytest.raises(EnvelopeError) as caught:
        own().meet(hello(public=public), {})
    assert caught.value.reason == "foreign key"


@pytest.mark.parametrize("fault", ["client", "public_key", "version", "holds"])
@pytest.mark.parametrize("value", [None, 1.5, [], True])
def test_a_hello_with_other_types_is_refused(fault, value):
    with pytest.raises(MessageError, match=f"at '{fault}', got"):
        own().meet(Frame({**hello().header, fault: value}), {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"server_round": 2}, "replayed"),
        ({"sender": "bob"}, "swapped"),
        ({"receiver": "alice"}, "swapped"),
        ({"kind": "downlink"}, "swapped"),
        ({"codec_digest": "f" * 16}, "other codec"),
        ({"run": "run-2"}, "other run"),
    ],
)
def test_an_envelope_about_something_else_is_refused_by_name(changes, reason):
    server = own()
    peer = server.meet(hello(), {})
    with pytest.raises(EnvelopeError) as caught:
        server.open(peer, reply(sealed_by(ALICE, b"update", **changes)), 3, CODEC)
    assert caught.value.reason == reason


def test_an_envelope_of_another_client_is_refused():
    server = own()
    peer = server.meet(hello(), {})
    with pytest.raises(EnvelopeError) as caught:
        server.open(peer, reply(sealed_by(BOB, b"update")), 3, CODEC)
    assert caught.value.reason == "foreign key"


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize(
    "wrong",
    [
        reply(b"x", name="bob"),
        reply(b"x", round_number=2),
        Frame({"client": "alice", "round": 3}),
        Frame({"client": "alice", "round": 3}, (b"x", b"y")),
    ],
    ids=["other client", "other round", "no payload", "two payloads"],
)
def test_a_reply_that_nobody_asked_for_is_refused(sealed, wrong):
    server = own(sealed=sealed)
    with pytest.raises(PeerError, match="expected one payload of 'alice' for round 3, got"):
        server.open(server.meet(hello(), {}), wrong, 3, CODEC)


def test_a_refusal_does_not_repeat_a_long_header():
    server = own()
    wrong = Frame({"client": "alice", "round": 2, "junk": "x" * 100_000}, (b"x",))
    with pytest.raises(PeerError) as caught:
        server.open(server.meet(hello(), {}), wrong, 3, CODEC)
    assert len(str(caught.value)) < 500
