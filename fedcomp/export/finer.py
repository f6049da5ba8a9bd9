"""What is tried next: what the candidates that were measured first suggest; at most one recovery each.

- Ratios by layer, at the smallest ratio whose even cut did not keep the target; where all did, beyond the largest.
- Fewer heads in what lost layers and kept the target.
- Low rank, on top of the fastest that keeps the target, where most of its weights are in large linear layers.
- Quantization-aware training, on top of what keeps the accuracy in fp32 and not in int8 with ranges from calibration,
  if that file would be faster than all that keep the target.

Low rank and training for int8 go on from a model that was cut and recovered, the others from the dense one. What goes
further than something that kept the target is tried only where the rows show that it did, with its whole interval
(``Target.surely_accurate``): else a search with few rows would go on until chance calls a model good that is not.
Everything made here is judged by the same rows as what came first, and was asked for because of them: see
``fedcomp.export.target``.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from fedcomp.export.candidate import Measured, Recipe
from fedcomp.export.recipes import cut_of
from fedcomp.export.target import Target
from fedcomp.shrink.base import Step
from fedcomp.shrink.registry import step_from_config

_LARGE, _MOST_LINEAR = 64, 0.5


@dataclass(frozen=True)
class Lessons:
    """What lets a model learn again: ``recovery`` after a cut, ``rounding`` for static int8; ``padding`` is a token."""

    recovery: Step
    rounding: Step
    padding: int = 0


def finer_recipes(
    recipes: Sequence[Recipe],
    modules: Mapping[str, nn.Module],
    measured: Sequence[Measured],
    target: Target,
    lessons: Lessons,
    static: Collection[str],
) -> list[Recipe]:
    """Return at most four recipes that go further than ``recipes`` did.

    ``modules`` are what those made, by name, ``measured`` the candidates built of them, and ``static`` the number
    formats with ranges from calibration.
    """
    tried = {recipe.name: recipe for recipe in recipes if recipe.name in modules}
    passing = sorted((found for found in measured if target.passed(found)), key=lambda found: found.latency_ms)
    names = list(dict.fromkeys(found.recipe for found in passing))
    sure = list(dict.fromkeys(found.recipe for found in passing if target.surely_accurate(found)))
    found = [
        *_by_layer(tried, names, sure, modules["dense"], lessons),
        *_depth_and_heads(tried, names, sure, lessons),
        *_low_rank(sure, modules, lessons),
        *_for_int8(measured, passing, target, lessons, static),
    ]
    return [recipe for recipe in found if recipe.name not in tried]


def _by_layer(
    tried: Mapping[str, Recipe], passing: Sequence[str], sure: Sequence[str], dense: nn.Module, lessons: Lessons
) -> Iterator[Recipe]:
    kind = cut_of(dense)
    ratios = {options["ratio"]: name for name, options in _cuts(tried, kind)}
    if kind == "recurrent" or not ratios:
        return
    kept = [ratio for ratio, name in ratios.items() if name in passing]
    failed = [ratio for ratio in ratios if ratio > max(kept, default=0.0)]
    if not failed and ratios[max(ratios)] not in sure:
        return
    ratio = min(failed) if failed else 1 - (1 - max(ratios)) / 2
    cut = step_from_config({"id": f"{kind}-by-layer", "ratio": ratio, "padding": lessons.padding})
    yield Recipe(f"{kind} {100 * ratio:g}% by layer", (cut, lessons.recovery))


def _depth_and_heads(
    tried: Mapping[str, Recipe], passing: Sequence[str], sure: Sequence[str], lessons: Lessons
) -> Iterator[Recipe]:
    shallow = [name for name in sure if name in dict(_cuts(tried, "depth"))]
    heads = {options["ratio"]: name for name, options in _cuts(tried, "heads")}
    if not shallow or not heads:
        return
    name = heads[max((ratio for ratio in heads if heads[ratio] in passing), default=min(heads))]
    depth, narrow = tried[shallow[0]].steps[0], tried[name].steps[0]
    yield Recipe(f"{shallow[0]}, {name}", (depth, narrow, lessons.recovery))


def _low_rank(sure: Sequence[str], modules: Mapping[str, nn.Module], lessons: Lessons) -> Iterator[Recipe]:
    """Half the weights of the fastest, where ranks of a quarter of a layer's smaller side are what that takes."""
    if not sure:
        return
    share = _large_linear_share(modules[sure[0]])
    if share < _MOST_LINEAR:
        return
    thin = step_from_config({"id": "low-rank", "keep": 1 - share / 2})
    yield Recipe(f"{sure[0]}, low rank", (thin, lessons.recovery), after=sure[0])


def _for_int8(
    measured: Sequence[Measured],
    passing: Sequence[Measured],
    target: Target,
    lessons: Lessons,
    static: Collection[str],
) -> Iterator[Recipe]:
    if target.accuracy_loss is None:
        return
    accurate = {each.recipe for each in measured if each.number_format == "fp32" and target.accurate(each)}
    fastest = passing[0].latency_ms if passing else float("inf")
    but_for_accuracy = replace(target, accuracy_loss=None)
    lost = [
        each
        for each in measured
        if each.number_format in static and each.recipe in accurate and not target.accurate(each)
        if but_for_accuracy.passed(each) and each.latency_ms < fastest
    ]
    if lost:
        name = min(lost, key=lambda each: each.latency_ms).recipe
        yield Recipe(f"{name}, rounded", (lessons.rounding,), after=name, formats=frozenset(static))


def _cuts(tried: Mapping[str, Recipe], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, recipe in tried.items():
        if recipe.steps and recipe.steps[0].id == kind:
            yield name, recipe.steps[0].config()


def _large_linear_share(module: nn.Module) -> float:
    total = sum(parameter.numel() for parameter in module.parameters())
    linear = (layer.weight for layer in module.modules() if isinstance(layer, nn.Linear))
    return sum(weight.numel() for weight in linear if min(weight.shape) >= _LARGE) / max(total, 1)
