"""Lines in a chain: canonical JSON, each with its place, the hash of the line before, and its own hash.

Canonical is sorted keys, no spaces, ASCII, and a newline. ``hash`` is the SHA-256 of the same JSON without ``hash`` and
``signature``; ``prev_hash`` is the hash of the line before, and 64 zeros in the first one.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedcomp.errors import FedcompError
from fedcomp.privacy.events import canonical_json

GENESIS = "0" * 64
_COMMON = frozenset({"format", "hash", "index", "kind", "prev_hash"})
_UNHASHED = ("hash", "signature")
_HEX = re.compile("(?:[0-9a-f]{2})+")


class LedgerError(FedcompError):
    """A ledger that cannot be read or trusted. Whoever gets this has not been charged and must not release anything."""

    exit_code = 4


@dataclass(frozen=True)
class Form:
    """How the lines of one file look: what one is called, its format, and its names by kind, beside the common ones."""

    noun: str
    number: int
    names: Mapping[str, frozenset[str]]

    def parse(self, line: bytes, at: int, prev_hash: str) -> dict[str, Any]:
        """Return the JSON object in ``line``, which has to be number ``at`` and to follow ``prev_hash``.

        That the line is canonical is for the caller to check: what it makes of the object has to give the line again.

        Raises:
            LedgerError: naming the line and what is wrong with it.
        """
        try:
            tree: dict[str, Any] = json.loads(line.decode("ascii"))
            if tree["format"] != self.number:
                raise LedgerError(f"{self.noun} {at}: expected format {self.number}, got {tree['format']!r:.40}")
            if tree["kind"] not in self.names:
                raise ValueError(f"expected a kind among {sorted(self.names)}, got {tree['kind']!r:.40}")
            if set(tree) != _COMMON | self.names[tree["kind"]]:
                raise ValueError(
                    f"unexpected or missing names: {sorted(set(tree) ^ _COMMON ^ self.names[tree['kind']])}"
                )
            digest = hash_of(tree)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self.refusal(at, error) from error
        if tree["index"] != at:
            raise LedgerError(
                f"{self.noun} {at}: expected index {at}, got {tree['index']} (dropped, repeated or moved?)"
            )
        if tree["hash"] != digest:
            raise LedgerError(f"{self.noun} {at}: its content does not fit its hash (edited?)")
        if tree["prev_hash"] != prev_hash:
            raise LedgerError(f"{self.noun} {at}: it does not follow the entry before it (edited, inserted or moved?)")
        return tree

    def refusal(self, at: int, error: Exception) -> LedgerError:
        """Return the error of a line that is none."""
        return LedgerError(f"{self.noun} {at}: not an entry ({type(error).__name__}: {error!s:.120})")

    def check_canonical(self, line: bytes, written: bytes, at: int) -> None:
        """Refuse a line that is not what would have been written."""
        if line != written:
            raise LedgerError(f"{self.noun} {at}: the line is not in canonical form (edited?)")


def hash_of(tree: Mapping[str, Any]) -> str:
    """Return the hash of a line's content."""
    return hashlib.sha256(
        canonical_json({name: value for name, value in tree.items() if name not in _UNHASHED}).encode()
    ).hexdigest()


def check_hex(name: str, text: object, num_bytes: int, *, empty: bool = False) -> str:
    """Return ``text`` if it is the lower-case hexadecimal form of so many bytes; ``ValueError`` if not."""
    if empty and text == "":
        return ""
    if not isinstance(text, str) or len(text) != 2 * num_bytes or not _HEX.fullmatch(text):
        raise ValueError(f"{name} must be {num_bytes} bytes in lower-case hexadecimal, got {text!r:.80}")
    return text
