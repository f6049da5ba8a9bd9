import hashlib
import json

import pytest

from fedcomp.crypto import SigningKey
from fedcomp.errors import RunError
from fedcomp.export.manifest import read_manifest, write_manifest

MODEL = b"a model"


def content():
    return {
        "file": "model.onnx",
        "sha256": hashlib.sha256(MODEL).hexdigest(),
        "bytes": len(MODEL),
        "runtime": "onnxruntime",
        "number_format": "fp32",
        "task": "digits",
        "architecture": {},
        "steps": [],
        "run": {"name": "demo"},
        "privacy": {},
    }


@pytest.fixture
def written(tmp_path):
    key = SigningKey.generate()
    write_manifest(tmp_path / "manifest.json", content(), key)
    return tmp_path / "manifest.json", key


def test_a_manifest_comes_back_with_its_signer(written):
    path, key = written
    found = read_manifest(path, MODEL, key.public.hex())
    assert found.content["run"] == {"name": "demo"}
    assert found.signer == key.public.hex()


def test_another_model_is_refused(written):
    with pytest.raises(RunError, match=r"expected a model with SHA-256 .*another or a damaged file"):
        read_manifest(written[0], MODEL + b"!")


def test_another_signer_is_refused(written):
    other = SigningKey.generate().public.hex()
    with pytest.raises(RunError, match=f"expected a manifest signed by {other}"):
        read_manifest(written[0], MODEL, other)


@pytest.mark.parametrize("field", ["sha256", "task", "privacy", "signature", "signer"])
def test_any_field_that_was_edited_is_found(written, field):
    path, _ = written
    tree = json.loads(path.read_text())
    tree[field] = SigningKey.generate().public.hex() if field == "signer" else "00" * 64
    path.write_text(json.dumps(tree))
    with pytest.raises(RunError, match="signature"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"signature": "zz", "signer": "00"}', "\x00", "[" * 20_000])
def test_what_is_no_manifest_is_refused_in_a_sentence(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(RunError, match="expected"):
        read_manifest(path)


def test_a_missing_file_and_a_missing_field_are_named(tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        read_manifest(tmp_path / "gone.json")
    without = {name: value for name, value in content().items() if name != "privacy"}
    with pytest.raises(ValueError, match="needs the fields privacy"):
        write_manifest(tmp_path / "manifest.json", without, SigningKey.generate())
