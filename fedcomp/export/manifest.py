"""The manifest of a small model: what the file is, what made it, and what it cost in privacy; signed.

A JSON object beside the model's file. ``signature`` is Ed25519 (RFC 8032) over the canonical JSON of everything else,
by the key in ``signer``. Whoever pins that key knows that nobody changed the model, its claims or its history since.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedcomp.crypto import SigningKey, VerifyingKey
from fedcomp.errors import RunError
from fedcomp.files import write_atomic

FORMAT = "fedcomp.model.v1"
_MAX_BYTES = 4 << 20
_FIELDS = frozenset(
    {"format", "file", "sha256", "bytes", "runtime", "number_format", "task", "architecture", "steps", "run", "privacy"}
)


@dataclass(frozen=True)
class Manifest:
    """A manifest whose signature was checked; ``signer`` is the public key as hexadecimal."""

    content: Mapping[str, Any]
    signer: str


def write_manifest(path: Path, content: Mapping[str, Any], key: SigningKey) -> None:
    """Sign ``content`` and write it to ``path``.

    Raises:
        ValueError: if a field of the format is missing.
        RunError: if the file cannot be written.
    """
    whole = {"format": FORMAT, **content}
    if missing := sorted(_FIELDS - whole.keys()):
        raise ValueError(f"a manifest needs the fields {', '.join(missing)}")
    signed = whole | {"signer": key.public.hex(), "signature": key.sign(_canonical(whole)).hex()}
    write_atomic(path, (json.dumps(signed, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def read_manifest(path: Path, model: bytes | None = None, signer: str | None = None) -> Manifest:
    """Return the manifest at ``path`` once its signature, and the model's bytes if they are given, fit it.

    ``signer`` is the public key, hexadecimal, that has to have signed it; any key will do if left out, which shows
    accidents but not a forger who signed with a key of his own.

    Raises:
        RunError: naming the file and what does not fit.
    """
    content = _read(path)
    try:
        signature, own = bytes.fromhex(str(content.pop("signature"))), str(content.pop("signer"))
        genuine = VerifyingKey(bytes.fromhex(own)).verify(signature, _canonical(content))
    except (KeyError, ValueError, RunError) as error:
        raise RunError(f"{path}: expected a signed {FORMAT}, got one without a readable signature: {error}") from error
    if signer is not None and signer.lower() != own:
        raise RunError(f"{path}: expected a manifest signed by {signer}, got one signed by {own}")
    if not genuine:
        raise RunError(f"{path}: the signature does not fit: the manifest was changed after it was signed")
    if content.get("format") != FORMAT or not content.keys() >= _FIELDS:
        raise RunError(f"{path}: expected {FORMAT} with {', '.join(sorted(_FIELDS))}, got {content.get('format')!r}")
    if model is not None and (found := hashlib.sha256(model).hexdigest()) != content["sha256"]:
        raise RunError(
            f"{path}: expected a model with SHA-256 {content['sha256']}, got {found}: another or a damaged file"
        )
    return Manifest(content, own)


def _read(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise RunError(f"{path}: expected a manifest of at most {_MAX_BYTES} bytes, got {size}")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: expected a JSON object, got something else: {error}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _canonical(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
