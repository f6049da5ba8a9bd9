"""The header in clear: bounded, exact, and compared field by field."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.crypto import EnvelopeError, Header
from fedcomp.crypto.header import MAX_HEADER_BYTES, check_header

HEADER = Header("run", 7, "alice", "server", "uplink", "d" * 64)
A, B = b"a" * 32, b"b" * 32
texts = st.text(st.characters(codec="utf-8"), max_size=60)


@settings(deadline=None, max_examples=60)
@given(
    st.builds(Header, texts, st.integers(0, 2**32 - 1), texts, texts, st.sampled_from(["uplink", "downlink"]), texts)
)
def test_any_header_is_equal_to_itself_alone(header):
    packed = header.pack(A, B)
    assert len(packed) <= MAX_HEADER_BYTES
    check_header(packed, header, sender_public=A, receiver_public=B)
    if header != HEADER:
        with pytest.raises(EnvelopeError):
            check_header(packed, HEADER, sender_public=A, receiver_public=B)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"run": "other"}, "other run"),
        ({"server_round": 8}, "replayed"),
        ({"sender": "bob"}, "swapped"),
        ({"receiver": "alice"}, "swapped"),
        ({"kind": "downlink"}, "swapped"),
        ({"codec_digest": "e" * 64}, "other codec"),
    ],
)
def test_each_difference_has_its_name(change, reason):
    packed = Header(**{**vars(HEADER), **change}).pack(A, B)
    with pytest.raises(EnvelopeError, match=next(iter(change))) as error:
        check_header(packed, HEADER, sender_public=A, receiver_public=B)
    assert error.value.reason == reason


def test_key_ids_are_compared():
    for keys in ((B, B), (A, A)):
        with pytest.raises(EnvelopeError) as error:
            check_header(HEADER.pack(*keys), HEADER, sender_public=A, receiver_public=B)
        assert error.value.reason == "foreign key"


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=300), st.integers(0, 100).map(lambda cut: HEADER.pack(A, B)[:cut])))
def test_hostile_headers_raise_envelope_errors_alone(packed):
    with pytest.raises(EnvelopeError):
        check_header(packed, HEADER, sender_public=A, receiver_public=B)


@pytest.mark.parametrize(
    "change",
    [{"kind": "sideways"}, {"server_round": -1}, {"server_round": 2**32}, {"run": "x" * 256}, {"sender": "é" * 128}],
)
def test_a_header_that_does_not_fit_its_format_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        Header(**{**vars(HEADER), **change})
