"""Eight bits of floating point: E4M3 and E5M2."""

from dataclasses import dataclass
from functools import cached_property
from math import frexp
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fedcomp.arrays import Array
from fedcomp.codecs.base import PayloadError
from fedcomp.codecs.options import choice
from fedcomp.codecs.quantize import peak_of
from fedcomp.codecs.stage import Form, Packet, Spec, Stage
from fedcomp.codecs.tensors import tensors

_LOWEST, _HIGHEST = -120, 100
"""Limits of a tensor's exponent: it fits int8, and neither scale overflows."""
_CHUNK = 2**15
"""Values that are rounded at a time, so that what is between stays in the cache."""


@dataclass(frozen=True)
class Float8(Stage):
    """Rounds to 8-bit floating point, with a power of two as scale for each tensor.

    E4M3 has 3 bits of mantissa and magnitudes up to 448, E5M2 has 2 and goes up to 57344 (Micikevicius et al. 2022, the
    OCP 8-bit formats). The scale is the smallest that brings the largest magnitude into the format, so nothing
    saturates. Rounding is to the nearest, ties to even, in integers: equal on every platform.
    """

    format: str = choice("e4m3", "e5m2")
    id: ClassVar[str] = "float8"
    data_dependent = True
    biased = True
    bound: ClassVar[str] = "2^-4 (e4m3) or 2^-3 (e5m2) of the largest magnitude"

    def form(self, form: Form) -> Form:
        """Return the form with one code a value and one exponent a tensor."""
        codes = Spec(np.dtype(np.uint8), form.require_floats())
        return Form(codes, (*form.streams, Spec(np.dtype(np.int8), len(form.shapes))), form.shapes)

    def forward(self, packet: Packet, rng: np.random.Generator) -> Packet:
        """Scale every tensor into the format and round."""
        codes, exponents = np.empty(packet.values.size, dtype=np.uint8), []
        parts = zip(tensors(packet.values, packet.shapes), tensors(codes, packet.shapes), strict=True)
        for (_, values), (_, part) in parts:
            exponents.append(self._exponent(peak_of(values)))
            for first in range(0, values.size, _CHUNK):
                few = slice(first, first + _CHUNK)
                part[few] = self._round(values[few] * _power(-exponents[-1]))
        return Packet(codes, (*packet.streams, np.array(exponents, dtype=np.int8)))

    def inverse(self, packet: Packet, form: Form) -> Packet:
        """Look every code up and undo the scale."""
        *streams, exponents = packet.streams
        if exponents.size and (exponents.min() < _LOWEST or exponents.max() > _HIGHEST):
            raise PayloadError(f"expected exponents in [{_LOWEST}, {_HIGHEST}], got another one")
        if packet.values.size and (packet.values & 0x7F).max() > self._top_code:
            raise PayloadError("expected codes of finite numbers, got another one")
        values = self._book[packet.values]
        for exponent, (_, part) in zip(exponents, tensors(values, form.shapes), strict=True):
            part *= _power(int(exponent))
        return Packet(values, tuple(streams))

    def max_error(self, values: Array) -> float | None:
        """Return half a unit in the last place of the largest value, or of the smallest that a scale reaches."""
        return max(peak_of(values) * 2.0 ** -(self._mantissa + 1), 2.0 ** (_LOWEST - 10))

    @property
    def _mantissa(self) -> int:
        return 3 if self.format == "e4m3" else 2

    @property
    def _bias(self) -> int:
        return 7 if self.format == "e4m3" else 15

    @property
    def _top_code(self) -> int:
        """The code of the largest number: E4M3 has one NaN, E5M2 infinities and NaN as in IEEE 754."""
        return 0x7E if self.format == "e4m3" else 0x7B

    @cached_property
    def _book(self) -> NDArray[np.float32]:
        """The number of every code; those that are not finite are never looked up."""
        codes = np.arange(256)
        exponent, fraction = (codes & 0x7F) >> self._mantissa, codes & ((1 << self._mantissa) - 1)
        whole = np.where(exponent > 0, fraction + (1 << self._mantissa), fraction)
        magnitudes = np.ldexp(whole.astype(np.float32), np.maximum(exponent, 1) - self._bias - self._mantissa)
        return np.asarray(np.where(codes > 0x7F, -magnitudes, magnitudes), dtype=np.float32)

    def _exponent(self, peak: float) -> int:
        """Return the smallest exponent e, within the limits, with peak <= largest number * 2**e."""
        if peak == 0:
            return _LOWEST
        top = float(self._book[self._top_code])
        exponent = frexp(peak)[1] - frexp(top)[1]
        return min(max(exponent + (peak > top * 2.0**exponent), _LOWEST), _HIGHEST)

    def _round(self, scaled: Array) -> NDArray[np.uint8]:
        """Return the nearest code of every value that is no larger than the largest number."""
        bits = scaled.view(np.uint32)
        magnitude, shift = bits & np.uint32(0x7FFFFFFF), np.uint32(23 - self._mantissa)
        odd = magnitude >> shift & np.uint32(1)
        normal = (magnitude + (np.uint32(1) << shift - np.uint32(1)) - np.uint32(1) + odd >> shift) - np.uint32(
            (127 - self._bias) << self._mantissa
        )
        # Below the normal numbers codes count multiples of the smallest one: rint of an exact product.
        small = np.rint(np.abs(scaled) * np.float32(2.0 ** (self._bias - 1 + self._mantissa))).astype(np.uint32)
        is_small = np.abs(scaled) < np.float32(2.0 ** (1 - self._bias))
        codes = np.where(is_small, small, normal) | bits >> np.uint32(24) & np.uint32(0x80)
        return np.asarray(codes, dtype=np.uint8)


def _power(exponent: int) -> np.float32:
    return np.float32(2.0**exponent)
