"""Encryption of what lies on a client's disk."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.crypto import KeyFileError, KeyPair
from fedcomp.crypto.at_rest import StorageCipher, key_pair_from_bytes, key_pair_to_bytes

KEY = KeyPair.generate()
CIPHER = StorageCipher(KEY)


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_was_encrypted_comes_back(content, associated_data):
    sealed = CIPHER.encrypt(content, associated_data)
    assert CIPHER.decrypt(sealed, associated_data) == content
    assert len(sealed) == len(content) + 12 + 16
    if len(content) > 8:
        assert content not in sealed


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_refused_by_one_error(garbage):
    with pytest.raises(KeyFileError, match="was changed, or was encrypted with another key"):
        CIPHER.decrypt(garbage, b"")


def test_a_flipped_bit_a_cut_and_another_name_are_refused():
    sealed = CIPHER.encrypt(b"content", b"name")
    hurt = [sealed[:place] + bytes([sealed[place] ^ 0x80]) + sealed[place + 1 :] for place in range(len(sealed))]
    hurt += [sealed[:length] for length in range(len(sealed))]
    for damaged in hurt:
        with pytest.raises(KeyFileError):
            CIPHER.decrypt(damaged, b"name")
    with pytest.raises(KeyFileError):
        CIPHER.decrypt(sealed, b"other name")
    assert CIPHER.decrypt(sealed, b"name") == b"content"


def test_only_the_same_private_key_opens():
    sealed = CIPHER.encrypt(b"content", b"")
    with pytest.raises(KeyFileError):
        StorageCipher(KeyPair.generate()).decrypt(sealed, b"")
    assert StorageCipher(key_pair_from_bytes(key_pair_to_bytes(KEY))).decrypt(sealed, b"") == b"content"


def test_no_nonce_is_used_twice():
    nonces = {CIPHER.encrypt(b"", b"")[:12] for _ in range(500)}
    assert len(nonces) == 500


def test_the_cipher_of_a_key_file(tmp_path):
    KEY.save(tmp_path / "key")
    sealed = CIPHER.encrypt(b"content", b"")
    assert StorageCipher.from_file(tmp_path / "key").decrypt(sealed, b"") == b"content"
    with pytest.raises(KeyFileError, match="cannot read private key"):
        StorageCipher.from_file(tmp_path / "none")


def test_a_key_pair_comes_back_from_its_bytes():
    stored = key_pair_to_bytes(KEY)
    again = key_pair_from_bytes(stored)
    assert len(stored) == 32
    assert again.public == KEY.public
    assert key_pair_to_bytes(again) == stored


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_stored_keys_of_another_length_are_refused(length):
    with pytest.raises(KeyFileError, match=f"expected 32 bytes, got {length}"):
        key_pair_from_bytes(b"x" * length)
