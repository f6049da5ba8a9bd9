"""Values to levels and back: the rounding of the encoder, and the normative reconstruction."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.entropy.symbols import to_unsigned

Floats = NDArray[np.float32]
Words = NDArray[np.uint32]
DITHER_DOMAIN = 2
"""The domain of public words that the stage ``dither`` uses as well."""


@dataclass(frozen=True)
class Rounding:
    """The share of a step from which on a magnitude goes up: to 1 from ``first`` on, to the next from ``later`` on."""

    first: float
    later: float


NEAREST = Rounding(0.5, 0.5)


def magnitudes_of(scaled: Floats, rounding: Rounding) -> Floats:
    """Return the levels of magnitudes in units of the step, as floats."""
    levels = scaled + np.float32(1 - rounding.later)
    np.floor(levels, levels)
    if rounding.first != rounding.later:
        choose = np.multiply if rounding.first > rounding.later else np.maximum
        choose(levels, scaled >= np.float32(rounding.first), out=levels)
    return levels


def numbers_of(values: Floats, step: np.float32, rounding: Rounding) -> Floats:
    """Return the zigzag numbers of values, as floats."""
    levels = magnitudes_of(np.abs(values) * np.float32(1 / step), rounding)
    np.add(levels, levels, levels)
    np.subtract(levels, values < 0, levels)
    return np.maximum(levels, np.float32(0), out=levels)


def dithered_numbers(values: Floats, step: np.float32, dither: Floats) -> Words:
    """Return the zigzag numbers of values, each shifted by its dither and rounded to the nearest level."""
    return to_unsigned(np.rint(values / step - dither).astype(np.int32))


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What a level stands for: integers in units of step / 256, and one multiplication. Normative.

    ``shifts`` are those of the magnitudes 1, 2, and 3 or more.
    """

    step: np.float32
    shifts: tuple[int, int, int]

    def values(self, numbers: NDArray[Any]) -> Floats:
        """Return the values of zigzag numbers below 2**24."""
        levels = signed_levels(numbers) << np.int32(8)
        one, two, more = self.shifts
        by_number = np.array([0, -one, one, -two, two, -more, more], dtype=np.int32)
        levels += by_number.take(np.minimum(numbers, 6 - (numbers & 1)))
        return levels.astype(np.float32) * np.float32(self.step * np.float32(2.0**-8))


def signed_levels(numbers: NDArray[Any]) -> NDArray[np.int32]:
    """Return the levels of zigzag numbers."""
    signed = numbers.astype(np.int32)
    return (signed >> np.int32(1)) ^ -(signed & np.int32(1))


def dither_values(seed: int, size: int) -> Floats:
    """Return what ``fedcomp.codecs.stages.dither.dither`` returns, piece by piece: it takes 4 bytes a value, not 20."""
    generator = np.random.Philox(key=seed + (DITHER_DOMAIN << 64))
    values = np.empty(size, dtype=np.float32)
    for at in range(0, size, 2**16):
        out = values[at : at + 2**16]
        words = np.asarray(generator.random_raw(-(-len(out) // 2)), dtype="<u8").view("<u4")[: len(out)]
        odd = (words >> np.uint32(8)).astype(np.int32) * np.int32(2) + np.int32(1 - 2**24)
        np.multiply(odd, np.float32(2.0**-25), out=out, casting="unsafe", dtype=np.float32)
    return values
