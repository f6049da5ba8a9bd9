"""A general compressor, for comparison with the entropy coder."""

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.layout import dump_values, load_values, num_bytes
from fedcomp.codecs.options import integer
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

_LARGEST_WINDOW = 2**27
"""What a decoder holds besides its output; level 19 asks for 2**23."""


@dataclass(frozen=True)
class Zstd(Stage):
    """Compresses the values and all streams with Zstandard.

    Stands where ``rans`` stands, which needs about half the bytes for sparse levels and no other package. (Collet and
    Kucherawy, RFC 8878.) Needs ``pip install fedcomp[zstd]``.
    """

    level: int = integer(3, 1, 19, default=3)
    id: ClassVar[str] = "zstd"
    data_dependent = True
    biased = False
    bound: ClassVar[str] = "0"

    def form(self, form: Form) -> Form:
        """Return the form with bytes as values."""
        if form.values.length is None:
            raise ValueError("expected values that are not entropy-coded yet, got coded ones")
        _zstandard()
        return Form(Spec(np.dtype(np.uint8), None))

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Compress everything as one frame."""
        raw = b"".join(dump_values(array) for array in (*packet.streams, packet.values))
        compressor = _zstandard().ZstdCompressor(level=self.level, write_content_size=True)
        return Packet(np.frombuffer(compressor.compress(raw), dtype=np.uint8))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Decompress exactly as many bytes as there must be."""
        specs = [(spec.dtype, spec.length or 0) for spec in (*form.streams, form.values)]
        raw = _decompress(packet.values.tobytes(), sum(num_bytes(*spec) for spec in specs))
        arrays, at = [], 0
        for spec in specs:
            arrays.append(load_values(raw[at : at + num_bytes(*spec)], *spec))
            at += num_bytes(*spec)
        *streams, values = arrays
        return Packet(values, tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return 0."""
        return 0.0


def _zstandard() -> ModuleType:
    """Return the optional package; raises ``ValueError`` that says how to get it."""
    try:
        return import_module("zstandard")
    except ImportError:
        raise ValueError("expected the package zstandard, got none: pip install fedcomp[zstd]") from None


def _decompress(data: bytes, size: int) -> memoryview:
    """Return the content of one frame, which must say that it has ``size`` bytes, and have them."""
    zstandard = _zstandard()
    try:
        frame = zstandard.get_frame_parameters(data)
        if frame.content_size != size or frame.window_size > _LARGEST_WINDOW or frame.dict_id:
            raise PayloadError(f"expected a frame of {size} bytes, got one of {frame.content_size}")
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise PayloadError(f"expected a Zstandard frame: {error}") from None
    if len(raw) != size:
        raise PayloadError(f"expected {size} bytes, got {len(raw)}")
    return memoryview(raw)
