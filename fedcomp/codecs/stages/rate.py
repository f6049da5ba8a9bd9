"""The flagship: bytes, bits a value or a distortion in, and the fewest errors or bytes that follow from it out."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedcomp.arrays import Array
from fedcomp.codecs.context import NOTHING, Side
from fedcomp.codecs.options import choice, flag, optional_integer, optional_number
from fedcomp.codecs.public import public_seed
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.rate.control import Goal
from fedcomp.codecs.rate.fast import encode_fast
from fedcomp.codecs.rate.reader import read_draft
from fedcomp.codecs.rate.thorough import decode_max, encode_max
from fedcomp.codecs.stage import Form, Packet, Spec, Stage

MAX_BITS, MAX_BYTES = 16.0, 2**31 - 1


@dataclass(frozen=True)
class Rate(Stage):
    """Codes values at a given rate, as near to the rate-distortion bound as it gets; ends a chain.

    Exactly one of ``bits`` (a value, this stage's own bytes), ``bytes`` (the whole payload) and ``nmse`` (squared error
    over squared norm) is given; it is met from below. One step for all values together, with an entropy coder that
    follows the scale of every block, spends bits where they matter (reverse water-filling). Where not even zeros fit,
    all values decode to 0. Values are rounded with a dead zone (Gish and Pierce 1968; Sullivan 1996), or, with
    ``dither``, shifted by a public dither and back, which is unbiased (Ziv 1985); of blocks far below the step some
    values are drawn, and stand for the others (Horvitz and Thompson 1952). The seed of both hides nothing, and is no
    privacy noise. ``mode`` ``max`` searches a trellis (Marcellin and Fischer 1990) for less error at more time, and
    does as ``fast`` does where that is better.
    """

    bits: float | None = optional_number(1.0, 0, MAX_BITS, open_low=True)
    bytes: int | None = optional_integer(None, 1, MAX_BYTES)
    nmse: float | None = optional_number(None, 1e-12, 1)
    mode: str = choice("fast", "max")
    dither: bool = flag(default=False)
    id: ClassVar[str] = "rate"
    counts_bytes: ClassVar[bool] = True
    bound: ClassVar[str] = "none with dither or bytes; else about a step, found by encoding"
    data_dependent = True

    def __post_init__(self) -> None:
        """Check the options, alone and together."""
        super().__post_init__()
        given = [name for name in ("bits", "bytes", "nmse") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"bits: expected exactly one of bits, bytes and nmse, got {' and '.join(given) or 'none'}")
        if self.dither and self.mode == "max":
            raise ValueError("dither: expected false with mode 'max', got True")

    @property
    def biased(self) -> bool:
        """Whether there is no dither."""
        return not self.dither

    def form(self, form: Form) -> Form:
        """Return the form with bytes as values."""
        form.require_floats()
        return Form(Spec(np.dtype(np.uint8), None), form.streams)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Find the step, and code the values."""
        seed = public_seed(rng) if self.dither else None
        coded = _encode(self, packet.values, packet.side, seed)
        return Packet(np.frombuffer(coded, dtype=np.uint8), packet.streams)

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Decode the values; no bytes at all stand for zeros."""
        size = form.require_floats()
        if not packet.values.size:
            return Packet(np.zeros(size, dtype=np.float32), packet.streams)
        return Packet(_decode(self, packet.values.data, size), packet.streams)

    def max_error(self, values: Array) -> float | None:
        """Return the largest error of these very values, or None where it depends on a seed or on other sections."""
        if self.bytes is not None or self.dither:
            return None
        coded = _encode(self, values, NOTHING, None)
        decoded = _decode(self, memoryview(coded), values.size) if coded else np.zeros_like(values)
        return peak_of(values.astype(np.float64) - decoded)


def _encode(stage: Rate, values: Array, side: Side, seed: int | None) -> bytes:
    """Return the coded values, under every ceiling that there is; empty if nothing fits."""
    ceilings = [] if stage.bits is None else [values.size * stage.bits / 8]
    ceilings += [most - side.overhead for most in (stage.bytes, side.max_bytes) if most is not None]
    if ceilings and min(ceilings) < 1:
        return b""
    if stage.nmse is not None:
        norm = float(np.sum(np.square(values, dtype=np.float64)))
        coded = _encode_goal(stage, values, Goal(None, stage.nmse * norm), seed)
        if not ceilings or len(coded) <= min(ceilings):
            return coded
    return _encode_goal(stage, values, Goal(min(ceilings), None), seed)


def _encode_goal(stage: Rate, values: Array, goal: Goal, seed: int | None) -> bytes:
    return encode_fast(values, goal, seed) if stage.mode == "fast" else encode_max(values, goal)


def _decode(stage: Rate, data: memoryview, size: int) -> Array:
    return read_draft(data, size, dither=stage.dither) if stage.mode == "fast" else decode_max(data, size)
