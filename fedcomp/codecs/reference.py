"""What both ends hold, and how a payload says which one it was made with."""

import hashlib

import numpy as np

from fedcomp.arrays import Array, ArraysError
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.stage import Packet, Spec

FINGERPRINT = Spec(np.dtype(np.uint64), 1)
"""The stream that a fingerprint travels in."""


def require_reference(packet: Packet) -> Array:
    """Return the reference of a packet as float32 values; raises ``ArraysError`` if it is not there."""
    if packet.side.reference is None:
        raise ArraysError("reference: expected what both ends hold, got none")
    return packet.side.reference


def fingerprint(reference: Array) -> Array:
    """Return the first 64 bits of the SHA-256 of the values' little-endian bytes, as a stream."""
    data = np.ascontiguousarray(reference, dtype="<f4").tobytes()
    return np.frombuffer(hashlib.sha256(data).digest()[:8], dtype="<u8").astype(np.uint64)


def check_fingerprint(stream: Array, reference: Array) -> None:
    """Refuse a payload that was made with another reference (``PayloadError``)."""
    own = fingerprint(reference)
    if stream[0] != own[0]:
        raise PayloadError(
            f"expected a payload made with reference {int(own[0]):016x}, got one made with {int(stream[0]):016x}"
        )
