"""Keys and envelopes: what travels between one client and the server is sealed for exactly one reader."""

from fedcomp.crypto.envelope import Channel, ReplayGuard
from fedcomp.crypto.header import EnvelopeError, Header
from fedcomp.crypto.keys import KeyFileError, KeyPair, key_id, public_key_from_text
from fedcomp.crypto.secret_stream import SecretStream
from fedcomp.crypto.signing import SigningKey, VerifyingKey

__all__ = [
    "Channel",
    "EnvelopeError",
    "Header",
    "KeyFileError",
    "KeyPair",
    "ReplayGuard",
    "SecretStream",
    "SigningKey",
    "VerifyingKey",
    "key_id",
    "public_key_from_text",
]
