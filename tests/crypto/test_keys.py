"""Keys come from OS entropy, one per party, and lie in files that nobody else may read."""

import stat

import pytest

from fedcomp.crypto import KeyFileError, KeyPair, key_id, public_key_from_text


def test_every_pair_is_its_own():
    pairs = [KeyPair.generate() for _ in range(50)]
    assert len({pair.public for pair in pairs}) == 50
    assert len({pair.key_id for pair in pairs}) == 50


def test_a_pair_is_not_made_from_a_seed():
    with pytest.raises(TypeError):
        KeyPair.generate(0)


def test_repr_hides_the_private_half():
    pair = KeyPair.generate()
    assert pair.private.private_bytes_raw().hex() not in repr(pair)
    assert "private" not in repr(pair)


def test_save_and_load(tmp_path):
    pair, path = KeyPair.generate(), tmp_path / "key"
    pair.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = KeyPair.load(path)
    assert loaded == pair
    assert loaded.private.private_bytes_raw() == pair.private.private_bytes_raw()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666, 0o610])
def test_a_key_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "key"
    KeyPair.generate().save(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"expected permissions 0600, got {mode:04o}"):
        KeyPair.load(path)


def test_a_key_is_never_written_over(tmp_path):
    path, pair = tmp_path / "key", KeyPair.generate()
    pair.save(path)
    with pytest.raises(KeyFileError, match="exists"):
        KeyPair.generate().save(path)
    assert KeyPair.load(path) == pair


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"fedcomp-x25519-private:",
        b"fedcomp-x25519-private:AAAA",
        b"fedcomp-x25519-private:!!!!",
        b"x" * 9999,
    ],
)
def test_what_is_not_a_key_is_refused(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        KeyPair.load(path)


def test_a_refusal_does_not_show_a_private_key(tmp_path):
    path, pair = tmp_path / "key", KeyPair.generate()
    pair.save(path)
    text = path.read_text()
    path.write_text(text.strip() + "A\n")
    with pytest.raises(KeyFileError) as error:
        KeyPair.load(path)
    assert text.strip().split(":")[1][:20] not in str(error.value)


def test_a_missing_key_is_refused(tmp_path):
    with pytest.raises(KeyFileError, match="cannot read private key"):
        KeyPair.load(tmp_path / "none")


def test_public_text_comes_back():
    pair = KeyPair.generate()
    assert public_key_from_text(pair.public_text()) == pair.public
    assert public_key_from_text(f"  {pair.public_text()}\n") == pair.public
    assert key_id(pair.public) == pair.key_id
    assert len(pair.key_id) == 32


@pytest.mark.parametrize("text", ["", "fedcomp-x25519:", "fedcomp-x25519:AA", "other:" + "A" * 44])
def test_other_text_is_no_public_key(text):
    with pytest.raises(KeyFileError):
        public_key_from_text(text)
