"""The codec contract: named arrays to bytes and back."""

from typing import Any, Protocol

import numpy as np

from fedcomp.arrays import Array, Arrays
from fedcomp.codecs.context import NO_CONTEXT, CodecContext
from fedcomp.errors import FedcompError

MAX_VALUES = 2**28
"""Values that a payload may decode to unless the caller states another limit."""


class PayloadError(FedcompError):
    """Bytes that are damaged, hostile, or written by another codec. Nothing of them has been used."""

    exit_code = 6


class Codec(Protocol):
    """Encodes named arrays to bytes and decodes them to arrays of the same names, order, shapes and dtypes.

    Guarantees, each checked by ``tests/contracts/codec_suite.py`` for every implementation:

    * ``encode`` leaves its input untouched; equal input, config and generator state give equal bytes.
    * Every decoded value is within ``max_error`` of the value that was encoded; ``lossless`` means bit for bit.
    * Arrays that are not floating point are carried bit for bit by every codec.
    * ``codec_from_config(json.loads(json.dumps(codec.config()))) == codec``.
    * ``decode`` of any byte string returns arrays or raises ``PayloadError``, nothing else, and refuses what it cannot
      hold before it allocates.

    Edge cases: an empty mapping, 0-d arrays and arrays without values come back as they were. A lossy codec refuses
    NaN, infinities and magnitudes above 2**100 by the array's name (``ArraysError``); a lossless one carries them.
    """

    @property
    def data_dependent(self) -> bool:
        """Whether support, scale, table or length of a payload depend on the values: a release, before noise."""

    @property
    def biased(self) -> bool:
        """Whether the expectation of the decoded values, over ``rng``, differs from the encoded ones."""

    @property
    def lossless(self) -> bool:
        """Whether every array of every dtype comes back bit for bit."""

    @property
    def needs_reference(self) -> bool:
        """Whether both ends must hold the same reference: ``CodecContext.reference`` and ``decode(reference=...)``."""

    @property
    def private_side(self) -> bool:
        """Whether a payload uses memory or importance: knowledge that was not noised together with the arrays."""

    def encode(self, arrays: Arrays, rng: np.random.Generator, context: CodecContext = NO_CONTEXT) -> bytes:
        """Return the payload.

        Args:
            arrays: bool, integer or floating point arrays of native byte order.
            rng: where stochastic rounding and public seeds are drawn from; never a source of privacy noise.
            context: what is known besides the arrays.

        Raises:
            ArraysError: if an array cannot be carried, with its name, or the context lacks what the codec needs.
        """

    def advance(
        self, arrays: Arrays, rng: np.random.Generator, context: CodecContext = NO_CONTEXT
    ) -> tuple[bytes, dict[str, Array]]:
        """Return the payload, and the memory for the context of the next one (empty for a codec that keeps none)."""

    def decode(
        self, payload: bytes, *, max_values: int = MAX_VALUES, reference: Arrays | None = None
    ) -> dict[str, Array]:
        """Return the arrays of a payload, writable and in the order in which they were encoded.

        Args:
            payload: bytes from anywhere.
            max_values: refuse a payload that claims more values than this. Peak memory stays under 32 bytes a value
                plus 4 bytes a byte of payload plus 4 MiB.
            reference: what the encoder's context had as reference; another one, or none, is refused.

        Raises:
            PayloadError: if the bytes are not a payload of this very codec.
        """

    def max_error(self, arrays: Arrays, context: CodecContext = NO_CONTEXT) -> float | None:
        """Return a bound on the absolute error of every decoded value, 0 if lossless, None if there is none."""

    def config(self) -> list[dict[str, Any]]:
        """Return the config as JSON values: one object a stage, with its ``id`` and every option written out."""

    def digest(self) -> str:
        """Return 64 bits of the SHA-256 of the canonical config as 16 hex digits: equal exactly for equal codecs."""
