"""Seal and open: who may read, what a refusal is called, and that nothing is used twice."""

import dataclasses
import os

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedcomp.crypto import Channel, EnvelopeError, Header, KeyPair, ReplayGuard

RUN = "run-1"
SERVER, ALICE, BOB = KeyPair.generate(), KeyPair.generate(), KeyPair.generate()
UP = Header(RUN, 3, "alice", "server", "uplink", "d" * 64)
DOWN = Header(RUN, 3, "server", "alice", "downlink", "e" * 64)
ALICES, SERVERS = Channel(ALICE, SERVER.public, RUN), Channel(SERVER, ALICE.public, RUN)
PAYLOAD = os.urandom(1000)


def reason(channel, envelope, expected):
    with pytest.raises(EnvelopeError) as error:
        channel.open(envelope, expected)
    return error.value.reason


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100_000])
def test_both_directions_come_back(size):
    payload = os.urandom(size)
    assert SERVERS.open(ALICES.seal(payload, UP), UP) == payload
    assert ALICES.open(SERVERS.seal(payload, DOWN), DOWN) == payload


def test_the_payload_does_not_show():
    payload = b"a secret that must not be seen " * 10
    assert payload[:16] not in ALICES.seal(payload, UP)


def test_nonces_are_fresh():
    start = len(ALICES.seal(b"", UP)) - 28
    assert len({ALICES.seal(b"", UP)[start : start + 12] for _ in range(200)}) == 200


def test_a_foreign_key_cannot_open():
    envelope = ALICES.seal(PAYLOAD, UP)
    assert reason(Channel(BOB, ALICE.public, RUN), envelope, UP) == "foreign key"
    assert reason(Channel(SERVER, BOB.public, RUN), envelope, UP) == "foreign key"


def test_a_foreign_key_that_lies_about_its_id_is_found_out():
    """Mallory puts Alice's key id into the header; the tag still needs Alice's key."""
    mallory = dataclasses.replace(BOB, public=ALICE.public)
    forged = Channel(mallory, SERVER.public, RUN).seal(PAYLOAD, UP)
    assert (
        forged[: len(UP.pack(ALICE.public, SERVER.public))]
        == ALICES.seal(b"", UP)[: len(UP.pack(ALICE.public, SERVER.public))]
    )
    # His directional key has the right info but another shared secret.
    assert reason(SERVERS, forged, UP) == "tampered"


def test_a_swapped_sender_is_refused():
    bobs = Channel(BOB, SERVER.public, RUN)
    claims = dataclasses.replace(UP, sender="bob")
    assert reason(SERVERS, bobs.seal(PAYLOAD, claims), UP) == "swapped"
    assert reason(SERVERS, bobs.seal(PAYLOAD, UP), UP) == "foreign key"


def test_a_replay_in_the_next_round_is_refused():
    assert reason(SERVERS, ALICES.seal(PAYLOAD, UP), dataclasses.replace(UP, server_round=4)) == "replayed"


def test_a_replay_in_the_same_round_is_refused():
    envelope, guard = ALICES.seal(PAYLOAD, UP), ReplayGuard()
    assert SERVERS.open(envelope, UP) == PAYLOAD
    guard = guard.admit(UP)
    with pytest.raises(EnvelopeError) as error:
        guard.admit(UP)
    assert error.value.reason == "replayed"
    for other in ({"sender": "bob"}, {"server_round": 4}, {"kind": "downlink"}, {"run": "run-2"}):
        guard = guard.admit(dataclasses.replace(UP, **other))
    assert len(guard.seen) == 5


def test_another_codec_is_refused():
    assert reason(SERVERS, ALICES.seal(PAYLOAD, UP), dataclasses.replace(UP, codec_digest="f" * 64)) == "other codec"


def test_another_run_is_refused_even_if_the_header_is_edited():
    old = Channel(ALICE, SERVER.public, "run-0")
    envelope = old.seal(PAYLOAD, dataclasses.replace(UP, run="run-0"))
    assert reason(SERVERS, envelope, UP) == "other run"
    assert reason(SERVERS, envelope.replace(b"run-0", b"run-1", 1), UP) == "tampered"
    with pytest.raises(EnvelopeError, match="other run"):
        old.seal(PAYLOAD, UP)


def test_a_reflected_message_is_refused():
    """The server gets its own downlink back: as it was, and with the names exchanged."""
    envelope = SERVERS.seal(PAYLOAD, DOWN)
    assert reason(SERVERS, envelope, UP) == "swapped"
    assert reason(SERVERS, envelope, DOWN) == "foreign key"
    start = 3 + len(DOWN.pack(SERVER.public, ALICE.public))
    disguised = ALICES.seal(b"", UP)[: 3 + len(UP.pack(ALICE.public, SERVER.public))] + envelope[start:]
    assert reason(SERVERS, disguised, UP) == "tampered"


def test_one_key_for_both_directions_would_let_a_reflection_through():
    """Negative control: without the order of the public keys in the derivation, and no header, a reflection opens."""
    key, nonce = AESGCM(bytes(32)), bytes(12)
    assert key.decrypt(nonce, key.encrypt(nonce, b"downlink", b""), b"") == b"downlink"


def test_one_key_pair_for_both_ends_is_refused():
    with pytest.raises(EnvelopeError, match="our own"):
        Channel(SERVER, SERVER.public, RUN)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), (1).to_bytes(32, "little")])
def test_unusable_public_keys_are_refused(public):
    with pytest.raises(EnvelopeError) as error:
        Channel(SERVER, public, RUN)
    assert error.value.reason == "foreign key"


def test_clients_cannot_read_each_other():
    """One key per client: what Alice seals for the server does not open with any of Bob's channels."""
    envelope = ALICES.seal(PAYLOAD, UP)
    for channel in (Channel(BOB, SERVER.public, RUN), Channel(BOB, ALICE.public, RUN)):
        assert reason(channel, envelope, UP) == "foreign key"


def test_a_shared_key_for_all_clients_would_let_anybody_read():
    """Negative control for the test above: with one key for all, every client opens everybody's envelope."""
    shared = KeyPair.generate()
    envelope = Channel(shared, SERVER.public, RUN).seal(PAYLOAD, UP)
    assert Channel(SERVER, shared.public, RUN).open(envelope, UP) == PAYLOAD
    bobs_copy = Channel(SERVER, shared.public, RUN).seal(PAYLOAD, DOWN)
    assert Channel(shared, SERVER.public, RUN).open(bobs_copy, DOWN) == PAYLOAD


def test_a_channel_does_not_show_its_keys():
    assert "AESGCM" not in repr(ALICES)
    assert "private" not in repr(ALICES)
