"""What samples of classes teach: which models to search with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedcomp.codecs.trellis.bins import BINS_PER_STEP, Floats
from fedcomp.codecs.trellis.blocks import Blocks, Indices
from fedcomp.codecs.trellis.machine import BLOCK
from fedcomp.codecs.trellis.model import Model
from fedcomp.codecs.trellis.search import Group, Numbers, find_apart, find_numbers

_BLOCKS, _ROUNDS, _ROWS = 16, 2, 64
_BLOCKS_IF_CLOSE, _CLOSE = 64, 0.03
_BLOCKS_IF_FEW, _FEW = 128, 2
_FEWEST_BLOCKS = 4


@dataclass(frozen=True, eq=False)
class Sample:
    """Some blocks of every class, at equal distances, and the magnitudes of their values in steps."""

    blocks: Blocks
    step: float
    classes: tuple[Indices, ...]
    magnitudes: tuple[Floats, ...]
    paths: int

    @classmethod
    def draw(cls, blocks: Blocks, step: float, classes: Sequence[Indices], number: int, unit: int = 1) -> "Sample":
        """Return about ``number`` of the blocks of classes, of each as large a share, and a few at least.

        A class has a multiple of ``unit`` blocks if it can; so all paths are as long.
        """
        total, chosen = sum(len(of_class) for of_class in classes), []
        for of_class in classes:
            count = max(_FEWEST_BLOCKS, len(of_class) * number // total)
            count = min(len(of_class), -(-count // unit) * unit)
            chosen.append(of_class[np.arange(count) * len(of_class) // count])
        magnitudes = tuple(np.abs(blocks.take(of_class) / np.float32(step)) for of_class in chosen)
        return cls(blocks, step, tuple(chosen), magnitudes, unit * BLOCK)

    def search(self, models: Sequence[Model]) -> list[Numbers]:
        """Return the numbers of all values of each class, searched with its model."""
        return search_classes(self.blocks, self.step, self.classes, models, self.paths)


@dataclass(frozen=True, eq=False)
class _Few:
    """As many blocks of every class, values of shape (classes, size); some more than once where there are fewer."""

    step: float
    values: Floats

    @classmethod
    def draw(cls, blocks: Blocks, step: float, classes: Sequence[Indices], number: int) -> "_Few":
        """Return ``number`` blocks of each class."""
        chosen = [of_class[np.arange(number) * len(of_class) // number] for of_class in classes]
        return cls(step, np.stack([blocks.take(of_class) for of_class in chosen]))

    def of(self, chosen: Sequence[int]) -> "_Few":
        """Return some of the classes, perhaps more than once."""
        return replace(self, values=self.values[list(chosen)])

    def learn(self, models: Sequence[Model], rounds: int) -> list[Model]:
        """Return what searches, each with the models that the one before it taught, teach in the end."""
        magnitudes = np.abs(self.values / np.float32(self.step))
        for _ in range(rounds):
            lookups = [model.lookup for model in models]
            found = find_apart(self.values, lookups, BINS_PER_STEP / self.step, _ROWS)
            models = [model.learn(*each) for model, *each in zip(models, magnitudes, found, strict=True)]
        return list(models)


def guess_models(blocks: Blocks, step: float, classes: Sequence[Indices]) -> list[Model]:
    """Return a model a class, learnt by a few searches through small samples of its blocks.

    Args:
        blocks: where the values are.
        step: the global step.
        classes: of each class, the indices of its blocks.
    """
    few = _Few.draw(blocks, step, classes, _BLOCKS)
    guesses = [Model.guesses(magnitudes) for magnitudes in np.abs(few.values / np.float32(step))]
    pairs = [index for index, ways in enumerate(guesses) if len(ways) > 1]
    if pairs:
        _choose(few.of(pairs), guesses, pairs, _CLOSE)
    if close := [index for index in pairs if len(guesses[index]) > 1]:
        _choose(_Few.draw(blocks, step, [classes[index] for index in close], _BLOCKS_IF_CLOSE), guesses, close, 0.0)
    models = [ways[0] for ways in guesses]
    if 0 < len(pairs) <= _FEW:
        # At low rates models change for long.
        larger = _Few.draw(blocks, step, [classes[index] for index in pairs], _BLOCKS_IF_FEW)
        for index, model in zip(pairs, larger.learn([models[index] for index in pairs], _ROUNDS), strict=True):
            models[index] = model
    return models


def _choose(few: _Few, guesses: list[tuple[Model, ...]], pairs: Sequence[int], close: float) -> None:
    """Put in the place of each pair of guesses what they become: the cheaper one, or both if close in cost."""
    both = few.of([*range(len(pairs)), *range(len(pairs))])
    learnt = both.learn([guesses[index][way] for way in (0, 1) for index in pairs], _ROUNDS)
    for index, *pair in zip(pairs, learnt, learnt[len(pairs) :], strict=False):
        better, worse = sorted(pair, key=lambda model: model.cost)
        guesses[index] = (better, worse) if worse.cost < better.cost * (1 + close) else (better,)


def search_classes(
    blocks: Blocks, step: float, classes: Sequence[Indices], models: Sequence[Model], paths: int
) -> list[Numbers]:
    """Return the numbers (see ``find_numbers``) of all values of every class, searched with its model."""
    groups = [Group(of_class, model.lookup) for of_class, model in zip(classes, models, strict=True)]
    return find_numbers(blocks, groups, BINS_PER_STEP / step, paths)
