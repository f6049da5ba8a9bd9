"""Ensemble distillation as a config asks for it: after the mean of a round, the model learns what its clients know.

Lin, Kong, Stich and Jaggi, *Ensemble distillation for robust model fusion in federated learning* (2020), algorithm 1:
the student starts at the average of the round's client models, and Adam takes it towards the mean of their logits on
unlabelled public rows. ``Fusion`` is an aggregator around the one that takes the mean. What it gives is an update like
any other, the distilled model minus the model before the round, so the server optimizer comes after it: with a learning
rate of 1 and no momentum, the distilled model is the next one, as in the paper.

Rows are public and client models are released state (mode ``local``) or nothing is claimed (mode ``none``): no ledger
is touched. The labels of the rows are not read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from fedcomp.aggregation import AggregationError, PrivateSum, Slices, UniformMean, WidthMean
from fedcomp.arrays import Array, Arrays, ArraysError, add, check_finite, subtract
from fedcomp.config import Config, FusionConfig
from fedcomp.errors import ConfigError
from fedcomp.plan.bundle import Plan
from fedcomp.plan.narrow import Narrow
from fedcomp.rng import stream
from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.distillation.averaged import AnswerSum, answers_of, imitate
from fedcomp.shrink.distillation.ensemble import admit_client_models
from fedcomp.shrink.distillation.lesson import Lesson, prepare
from fedcomp.shrink.taught import bare
from fedcomp.shrink.zeros import keep_zeros
from fedcomp.tasks import Task, model_rows
from fedcomp.threads import single_thread
from fedcomp.training import get_arrays, set_arrays

_MOST_LOGITS = 2**26


@dataclass(frozen=True, eq=False)
class _State:
    like: Arrays
    mean: Any
    answers: AnswerSum


@dataclass(frozen=True, eq=False)
class Fusion:
    """Folds in updates as ``inner`` does, asks each client model for its answers, and distils; see this file.

    A *client model* is the server's model plus the decoded update or, of a narrow client, what its width has of it.
    Answers have equal weights whatever ``inner``'s are. A client model is asked when its update comes, and let go: the
    round's models are never in memory together. What is kept is their sum, 8 bytes a logit, and the last one's answers,
    4 bytes a logit; a plan with more than 2**26 logits (768 MiB) is refused.

    The same updates give the same result, in whatever order they come, and after a resume too: everything is drawn
    from the stream of the seed, ``"fusion"`` and the round.
    """

    inner: UniformMean | WidthMean
    settings: FusionConfig
    lesson: Lesson
    """The public rows; what it says to them is replaced in every round."""
    shape: tuple[int, ...]
    """Of the answers to a row."""
    make_model: Callable[[], nn.Module]
    narrows: tuple[Narrow, ...]
    seed: int
    number: int = 0
    """The round."""

    def in_round(self, number: int) -> "Fusion | UniformMean | WidthMean":
        """Return what folds in the updates of round ``number``: ``inner`` alone where fusion is not due."""
        return self.inner if number % self.settings.every else replace(self, number=number)

    def init(self, like: Arrays) -> _State:
        """Return the empty state; ``like`` is the model that the updates are changes of. See ``Aggregator.init``."""
        totals = np.zeros((len(self.lesson), *self.shape), np.int64)
        return _State(like, self.inner.init(like), AnswerSum(totals))

    def accumulate(self, state: _State, update: Arrays, num_examples: int = 1) -> _State:
        """Add one update; see ``Aggregator.accumulate``. One whose model answers no logits is refused too."""
        try:
            answers = self._answers(state.like, update)
        except (ArraysError, ShrinkError) as error:
            raise AggregationError(str(error)) from error
        mean = self.inner.accumulate(state.mean, update, num_examples)
        return replace(state, mean=mean, answers=state.answers.plus(answers))

    def finish(self, state: _State) -> dict[str, Array]:
        """Return the distilled model minus the model before the round; see ``Aggregator.finish``."""
        return self.fuse(state)[0]

    def fuse(self, state: _State) -> tuple[dict[str, Array], dict[str, float]]:
        """Return that, and for the round's row the number of client models and the loss before and after distilling.

        The loss is KL(clients' mean || model) of softened answers to all public rows, times the temperature squared.

        Raises:
            AggregationError: if no update was counted.
            ShrinkError: if training diverges.
        """
        module = self.make_model()
        set_arrays(module, add(state.like, self.inner.finish(state.mean)))
        try:
            before, after = self._distil(module, state.answers.mean())
        except ShrinkError as error:
            raise ShrinkError(f"fusion in round {self.number}: {error}") from error
        report = {"models": state.answers.count, "loss_before": round(before, 6), "loss_after": round(after, 6)}
        return subtract(get_arrays(module), state.like), report

    def _distil(self, module: nn.Module, towards: torch.Tensor) -> tuple[float, float]:
        with single_thread():
            return imitate(
                module,
                replace(self.lesson, answers=lambda _, rows: towards[rows]),
                steps=self.settings.steps,
                batch_size=self.settings.batch_size,
                learning_rate=self.settings.learning_rate,
                temperature=self.settings.temperature,
                rng=stream(self.seed, "fusion", self.number),
            )

    def _answers(self, model: Arrays, update: Arrays) -> Array:
        narrow = next((each for each in self.narrows if _fits(each.slices, update)), None)
        module = self.make_model() if narrow is None else narrow.module()
        arrays = add(model if narrow is None else narrow.slices.take(model), update)
        check_finite(update)
        set_arrays(module, arrays)
        with single_thread():
            return answers_of(module, self.lesson.versions[0])


def make_fusion(plan: Plan) -> Fusion | None:
    """Return what folds in the updates of a plan with ``[fusion]``, its public rows gathered; None without."""
    settings, inner = plan.config.fusion, plan.aggregator
    if settings is None or isinstance(inner, PrivateSum):  # the latter is refused when a plan is made
        return None

    def make() -> nn.Module:
        return keep_zeros(bare(plan.task.model(plan.model_seed())), plan.masks)

    inputs = model_rows(plan.public_split().inputs)
    material = Material(inputs, None, "public", plan.task.loss, make())
    lesson = prepare(material, 1, plan.task.padding, stream(plan.config.seed, "fusion"))
    shape = answers_of(make(), lesson.versions[0, :1]).shape[1:]
    narrows = tuple({id(each): each for each in plan.narrows if each}.values())
    return Fusion(inner, settings, lesson, shape, make, narrows, plan.config.seed)


def setting_problems(config: Config) -> list[str]:
    """Return why a config's ``[fusion]`` cannot be, whatever the task."""
    settings, found = config.fusion, []
    if settings is None:
        return []
    try:
        admit_client_models(config.privacy.mode)
    except ConfigError as error:
        found += [f"fusion: {problem}" for problem in error.problems]
    if config.data.public_examples < settings.batch_size:
        found.append(
            f"data.public_examples: expected at least fusion.batch_size = {settings.batch_size} rows for the model to "
            f"learn from client models on, got {config.data.public_examples}"
        )
    return found


def answer_problems(config: Config, task: Task) -> list[str]:
    """Return why the answers of the task's model cannot be averaged over the public rows."""
    if config.fusion is None:
        return []
    row = torch.from_numpy(model_rows(task.train().inputs[:1]))
    try:
        answers = answers_of(bare(task.model(0)), row)
    except ShrinkError as error:
        return [f"fusion: the task's model: {error}"]
    if answers.size * config.data.public_examples > _MOST_LOGITS:
        most, got = _MOST_LOGITS // answers.size, config.data.public_examples
        return [f"data.public_examples: expected at most {most} for sums of {answers.size} logits a row, got {got}"]
    return []


def _fits(slices: Slices, update: Arrays) -> bool:
    return all(name in slices.places and slices.shape(name) == array.shape for name, array in update.items())
