"""What a sample of every class teaches: which models to search with."""

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from fedcomp.codecs.trellis.bins import BINS_PER_STEP, Floats
from fedcomp.codecs.trellis.model import Model
from fedcomp.codecs.trellis.search import Group, Numbers, find_numbers

Blocks = NDArray[np.intp]

_BLOCKS_A_GUESS, _ROUNDS_A_GUESS = 48, 3
_SAMPLE_BLOCKS, ROUNDS = 128, 2
_FEWEST_BLOCKS, _PATHS_A_BLOCK = 4, 4


def learn_models(values: Floats, step: float, classes: Sequence[Blocks], rounds: int = ROUNDS) -> list[Model]:
    """Return a model a class, learnt by searches through samples of its blocks.

    Args:
        values: shape (blocks, 256).
        step: the global step.
        classes: of each class, the indices of its blocks.
        rounds: searches through the larger sample. A full search afterwards is like one more round.
    """
    few = _Sample(values, step, classes, _BLOCKS_A_GUESS)
    flat = [Model.flat(float(magnitudes.mean())) for magnitudes in few.magnitudes]
    rest = [index for index, model in enumerate(flat) if model is None]
    if not rest:
        return [model for model in flat if model is not None]
    guesses = _better_guesses(few.of(rest))
    learnt = iter(_Sample(values, step, [classes[index] for index in rest], _SAMPLE_BLOCKS).learn(guesses, rounds))
    return [model or next(learnt) for model in flat]


def _better_guesses(sample: "_Sample") -> list[Model]:
    """Return the first model of each class; where there are two, that which has become the cheaper one."""
    guesses = [Model.guesses(magnitudes) for magnitudes in sample.magnitudes]
    models = [guess[0] for guess in guesses]
    pairs = [index for index, guess in enumerate(guesses) if len(guess) > 1]
    if pairs:
        sample = sample.of(pairs)
        ways = [sample.learn([guesses[index][way] for index in pairs], _ROUNDS_A_GUESS) for way in (0, 1)]
        for index, *pair in zip(pairs, *ways, strict=True):
            models[index] = min(pair, key=lambda model: model.cost)
    return models


def search_classes(
    values: Floats, step: float, classes: Sequence[Blocks], models: Sequence[Model], paths: int
) -> list[Numbers]:
    """Return the numbers (see ``find_numbers``) of all values of every class, searched with its model."""
    groups = [Group(blocks, model.lookup()) for blocks, model in zip(classes, models, strict=True)]
    return find_numbers(values, groups, BINS_PER_STEP / step, paths)


class _Sample:
    """Some blocks of every class, at equal distances."""

    def __init__(self, values: Floats, step: float, classes: Sequence[Blocks], number: int) -> None:
        total = sum(len(blocks) for blocks in classes)
        self.classes = []
        for blocks in classes:
            count = min(len(blocks), max(_FEWEST_BLOCKS, len(blocks) * number // total))
            self.classes.append(blocks[np.arange(count) * len(blocks) // count])
        self.magnitudes = [_magnitudes(values[blocks], step) for blocks in self.classes]
        self._values, self._step = values, step

    def of(self, chosen: Sequence[int]) -> "_Sample":
        """Return the sample of some of the classes."""
        part = copy(self)
        part.classes = [self.classes[index] for index in chosen]
        part.magnitudes = [self.magnitudes[index] for index in chosen]
        return part

    def learn(self, models: Sequence[Model], rounds: int) -> list[Model]:
        """Return what searches, each with the models that the one before it taught, teach in the end."""
        paths = max(sum(len(blocks) for blocks in self.classes) * _PATHS_A_BLOCK, 1)
        for _ in range(rounds):
            numbers = search_classes(self._values, self._step, self.classes, models, paths)
            models = [model.learn(m, found) for model, m, found in zip(models, self.magnitudes, numbers, strict=True)]
        return list(models)


def _magnitudes(values: Floats, step: float) -> Floats:
    magnitudes: Floats = np.abs(values).reshape(-1)
    magnitudes /= np.float32(step)
    return magnitudes
