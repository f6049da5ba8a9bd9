"""Keys that sign ledgers: from OS entropy, in files that nobody else may read, and what they signed is known."""

import stat
from base64 import urlsafe_b64encode

import pytest

from fedcomp.crypto import KeyFileError, KeyPair, SigningKey, VerifyingKey


def test_every_key_is_its_own_and_none_is_made_from_a_seed():
    assert len({SigningKey.generate().public for _ in range(50)}) == 50
    with pytest.raises(TypeError):
        SigningKey.generate(0)


def test_what_a_key_signed_is_known_by_its_public_half():
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"line")
    assert len(signature) == 64
    assert key.sign(b"line") == signature
    for verifier in (key, VerifyingKey(key.public)):
        assert verifier.verify(signature, b"line")
        assert not verifier.verify(signature, b"lime")
        assert not verifier.verify(other.sign(b"line"), b"line")
        assert not verifier.verify(signature[:-1], b"line")
        assert not verifier.verify(b"", b"line")
    assert not VerifyingKey(other.public).verify(signature, b"line")


def test_the_first_vector_of_rfc_8032(tmp_path):
    """Section 7.1, test 1: the empty message."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    path = tmp_path / "key"
    path.write_text(f"fedcomp-ed25519-private:{urlsafe_b64encode(secret).decode()}\n")
    path.chmod(0o600)
    key = SigningKey.load(path)
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex() == (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b"
    )


def test_repr_hides_the_private_half():
    key = SigningKey.generate()
    assert key.private.private_bytes_raw().hex() not in repr(key)
    assert "private" not in repr(key)


def test_save_and_load(tmp_path):
    key, path = SigningKey.generate(), tmp_path / "key"
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = SigningKey.load(path)
    assert loaded == key
    assert loaded.sign(b"line") == key.sign(b"line")
    with pytest.raises(KeyFileError, match="exists and is not written over"):
        SigningKey.generate().save(path)
    assert SigningKey.load(path) == key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    SigningKey.generate().save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"expected permissions 0600, got {mode:04o}"):
        SigningKey.load(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"fedcomp-ed25519-private:AAAA", b"x" * 9999])
def test_what_is_not_a_key_is_refused(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        SigningKey.load(path)
    with pytest.raises(KeyFileError, match="cannot read private key"):
        SigningKey.load(tmp_path / "none")


def test_an_envelopes_key_is_no_ledgers_key(tmp_path):
    """Both are 32 bytes; the prefix keeps them apart, so that no key is used for two things."""
    KeyPair.generate().save(tmp_path / "envelope.key")
    SigningKey.generate().save(tmp_path / "ledger.key")
    with pytest.raises(KeyFileError, match="expected a line that starts with 'fedcomp-ed25519-private:'"):
        SigningKey.load(tmp_path / "envelope.key")
    with pytest.raises(KeyFileError, match="expected a line that starts with 'fedcomp-x25519-private:'"):
        KeyPair.load(tmp_path / "ledger.key")


@pytest.mark.parametrize("public", [b"", b"x" * 31, b"x" * 33])
def test_what_is_no_public_key_is_refused(public):
    with pytest.raises(KeyFileError, match="expected 32 bytes"):
        VerifyingKey(public)
