"""How many bits and how much error a step gives, from a sample of every class: for rate control.

What is estimated is a search with given models, so that a search of all values with the same models is like it but for
chance. That chance is small: the mean magnitudes of all blocks are known, and tell most of what blocks differ in.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import Floats
from fedcomp.codecs.trellis.blocks import Blocks, Indices, Scales
from fedcomp.codecs.trellis.classes import Classes, choose_classes
from fedcomp.codecs.trellis.learning import Sample, guess_models
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.model import PRICE_OF_BIT, Model, by_number_of, points_of
from fedcomp.codecs.trellis.parts import make_part
from fedcomp.codecs.trellis.scalar import STEPS, Scalar, quantize
from fedcomp.codecs.trellis.search import MOST_PATHS, Numbers

SHARE = 8
_FEWEST_BLOCKS, _MOST_BLOCKS = 256, 4096
"""Of the blocks one in ``SHARE`` is looked at, but not fewer or more than so many."""
_ENOUGH = 8
_LARGEST_ERROR = np.float32(16)
_FLAT_LEAD = 0.25
"""By which share the error of a scalar quantizer is larger at a high rate: by a decibel."""


@dataclass(frozen=True, eq=False)
class Division:
    """The blocks of a step's classes 1, 2, ..., and the binary logarithms of their mean magnitudes in steps.

    ``of_block`` is the class of every block; class 0 is silent.
    """

    step: float
    of_block: Classes
    members: tuple[Indices, ...]
    octaves: NDArray[np.float64]

    @classmethod
    def of(cls, scales: Scales, step: float) -> "Division":
        """Return the division of blocks of some scales."""
        of_block = choose_classes(scales, step)
        members = tuple(np.flatnonzero(of_block == index) for index in range(1, int(of_block.max(initial=0)) + 1))
        octaves = np.array([np.log2(float(scales.means[blocks].mean()) / step) for blocks in members])
        return cls(step, of_block, members, octaves)

    @property
    def size(self) -> int:
        """Number of values that are coded."""
        return BLOCK * sum(len(blocks) for blocks in self.members)

    @property
    def silent(self) -> Indices:
        """The blocks that are not coded."""
        return np.flatnonzero(self.of_block == 0)


@dataclass(frozen=True, eq=False)
class Learnt:
    """Models of classes, and the binary logarithms of the classes' mean magnitudes in steps."""

    octaves: NDArray[np.float64]
    models: tuple[Model, ...]

    def nearest(self, octaves: NDArray[np.float64]) -> "Learnt":
        """Return for classes of another step the models of those whose scale is nearest."""
        nearest = np.abs(octaves[:, None] - self.octaves).argmin(axis=1)
        return Learnt(octaves, tuple(self.models[index] for index in nearest))


@dataclass(frozen=True, eq=False)
class Seen:
    """What is expected of a class: bits and squared error, in squared steps, of all its values; what it teaches.

    Of ``magnitudes`` some stand for all, each for ``weight`` of them, and ``cost`` is their error and bits at the slope
    between the two. There are none where these are known without a look.
    """

    bits: float
    error: float
    taught: Model
    magnitudes: Floats | None = None
    weight: float = 1.0
    cost: float = 0.0

    @property
    def lead(self) -> float:
        """How much more a scalar quantizer of the same values would cost."""
        if self.magnitudes is None:
            return _FLAT_LEAD * self.error
        return self.weight * (min(_cost(quantize(self.magnitudes, step)) for step in STEPS) - self.cost)


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a search is expected to give: bits of the coded values, their squared error, and what it would teach."""

    bits: float
    error: float
    taught: Learnt
    seen: tuple[Seen, ...]


def guess(blocks: Blocks, division: Division) -> Learnt:
    """Return the first models of the classes of a division, one at least."""
    return Learnt(division.octaves, tuple(guess_models(blocks, division.step, division.members)))


def estimate(blocks: Blocks, scales: Scales, division: Division, learnt: Learnt, share: int = SHARE) -> Estimate:
    """Return what a search is expected to give.

    Args:
        blocks: where the values are.
        scales: of all of them.
        division: their classes, one at least.
        learnt: a model a class.
        share: one in so many blocks is looked at, within limits.
    """
    classes = [_Class(scales, *each) for each in zip(division.members, learnt.models, strict=True)]
    asked = [each for each in classes if each.model.rate is None]
    found = iter(_look(blocks, division, asked, share))
    seen = [each.known(division.step) if each.model.rate is not None else next(found) for each in classes]
    bits, error = (sum(part) for part in zip(*((each.bits, each.error) for each in seen), strict=True))
    taught = Learnt(division.octaves, tuple(each.taught for each in seen))
    return Estimate(bits, error * division.step**2, taught, tuple(seen))


@dataclass(frozen=True, eq=False)
class _Class:
    """Blocks of a class, and the model that they are searched with."""

    scales: Scales
    members: Indices
    model: Model

    def known(self, step: float) -> Seen:
        """Return what is known of a flat model that has been seen before."""
        values = BLOCK * len(self.members)
        octaves = float(np.log2(self.scales.means[self.members] / np.float32(step)).mean())
        return Seen(values * ((self.model.rate or 0.0) + octaves), values * self.model.error, self.model)

    def see(self, chosen: Indices, magnitudes: Floats, numbers: Numbers, step: float) -> Seen:
        """Return what to expect, from some blocks."""
        means, mean, count = self.scales.means[chosen], float(self.scales.means[self.members].mean()), len(self.members)
        errors = _errors(self.model, magnitudes, numbers)
        if self.model.is_flat:
            # Too many numbers to tell their bits from how often they occur; but it is known how these grow.
            octaves = float(np.log2(means / np.float32(step)).mean())
            size = make_part(numbers.copy(), self.model.shifts).coded_bits / len(numbers)
            return replace(self, model=replace(self.model, rate=size - octaves, error=float(errors.mean()))).known(step)
        taught, weight = self.model.learn(magnitudes, numbers), count / len(chosen)
        bits = taught.lengths.take(numbers, mode="clip")
        all_bits = _total(bits, means, mean, count) + weight * taught.surplus
        cost = _cost(Scalar(float(bits.sum()), float(errors.sum())))
        return Seen(all_bits, _total(errors, means, mean, count), taught, magnitudes, weight, cost)


def _look(blocks: Blocks, division: Division, classes: list[_Class], share: int) -> list[Seen]:
    """Return what samples of some of the classes tell."""
    if not classes:
        return []
    members = [each.members for each in classes]
    number = min(max(len(blocks) // share, _FEWEST_BLOCKS), _MOST_BLOCKS) * len(classes) // len(division.members)
    # On paths as long as those of a search of all values: at low rates they remember their start for long.
    rows = division.size / min(max(division.size // BLOCK, 1), MOST_PATHS)
    sample = Sample.draw(blocks, division.step, members, number, max(round(number / rows), 1))
    numbers = sample.search([each.model for each in classes])
    seen = zip(classes, sample.classes, sample.magnitudes, numbers, strict=True)
    return [each.see(chosen, magnitudes, found, division.step) for each, chosen, magnitudes, found in seen]


def _total(costs: Floats, means: Floats, mean: float, count: int) -> float:
    """Return what all ``count`` blocks of a class cost, by regression on mean magnitudes (Cochran 1977, chapter 7)."""
    of_block = costs.reshape(-1, BLOCK).sum(axis=1, dtype=np.float64)
    off = means.astype(np.float64) - means.mean(dtype=np.float64)
    spread = float(off @ off)
    slope = float(off @ of_block) / spread if len(off) >= _ENOUGH and spread > 0 else 0.0
    return count * (float(of_block.mean()) + slope * (mean - float(means.mean(dtype=np.float64))))


def _errors(model: Model, magnitudes: Floats, numbers: Numbers) -> Floats:
    """Return squared errors in squared steps; no point of a number beyond 16 bits is at hand, so those are bounded."""
    points = by_number_of(points_of(model.shifts, (int(min(numbers.max(), 2**16)) + 2) // 4 + 1))
    off = magnitudes - points.take(numbers, mode="clip")
    return np.asarray(np.minimum(np.square(off, out=off), _LARGEST_ERROR))


def _cost(found: Scalar) -> float:
    return found.error + PRICE_OF_BIT * found.bits
