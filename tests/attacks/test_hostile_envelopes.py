"""Hostile bytes against ``Channel.open``: an ``EnvelopeError`` and nothing else, whatever they are."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.crypto import Channel, EnvelopeError, Header, KeyPair

SERVER, ALICE = KeyPair.generate(), KeyPair.generate()
HEADER = Header("run", 1, "alice", "server", "uplink", "d" * 64)
SEALER, OPENER = Channel(ALICE, SERVER.public, "run"), Channel(SERVER, ALICE.public, "run")
ENVELOPE = SEALER.seal(b"sixteen letters.", HEADER)


def test_every_flipped_bit_is_refused():
    for at in range(len(ENVELOPE)):
        for bit in range(8):
            hostile = bytearray(ENVELOPE)
            hostile[at] ^= 1 << bit
            with pytest.raises(EnvelopeError):
                OPENER.open(bytes(hostile), HEADER)


def test_every_truncation_is_refused():
    for length in range(len(ENVELOPE)):
        with pytest.raises(EnvelopeError):
            OPENER.open(ENVELOPE[:length], HEADER)
    for length in (0, 2, 30, 150):
        with pytest.raises(EnvelopeError) as error:
            OPENER.open(ENVELOPE[:length], HEADER)
        assert error.value.reason == "truncated"


def test_a_cut_payload_is_tampered_with():
    longer = SEALER.seal(bytes(1000), HEADER)
    with pytest.raises(EnvelopeError) as error:
        OPENER.open(longer[:-1], HEADER)
    assert error.value.reason == "tampered"


@pytest.mark.parametrize("extra", [b"\0", b"x" * 100, ENVELOPE])
def test_appended_bytes_are_refused(extra):
    with pytest.raises(EnvelopeError):
        OPENER.open(ENVELOPE + extra, HEADER)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(hostile):
    with pytest.raises(EnvelopeError):
        OPENER.open(hostile, HEADER)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**16 - 1), st.binary(max_size=300))
def test_random_headers_behind_a_good_version_are_refused(length, rest):
    with pytest.raises(EnvelopeError):
        OPENER.open(b"\x01" + length.to_bytes(2, "little") + rest, HEADER)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(ENVELOPE)), st.integers(0, len(ENVELOPE)), st.binary(max_size=20))
def test_spliced_envelopes_are_refused(start, end, middle):
    hostile = ENVELOPE[:start] + middle + ENVELOPE[end:]
    if hostile != ENVELOPE:
        with pytest.raises(EnvelopeError):
            OPENER.open(hostile, HEADER)


def test_halves_of_two_envelopes_do_not_join():
    other = SEALER.seal(b"SIXTEEN LETTERS.", HEADER)
    for at in range(len(ENVELOPE) - 36, len(ENVELOPE)):
        with pytest.raises(EnvelopeError):
            OPENER.open(ENVELOPE[:at] + other[at:], HEADER)


def test_memory_is_bounded_by_the_input():
    hostile = b"\x01\xff\xff" + bytes(100)
    tracemalloc.start()
    try:
        for _ in range(100):
            with pytest.raises(EnvelopeError):
                OPENER.open(hostile, HEADER)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
