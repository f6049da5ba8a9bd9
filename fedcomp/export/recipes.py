"""What is tried first: ways to make a model smaller that fit its layers, each followed by distillation.

The search goes from coarse to fine. First every way alone, at a few ratios, as here; then, in ``finer``, what the
measured candidates suggest. A recovery, which is distillation from the dense model for a given number of steps, is what
a search spends its time in. With three ratios these are:

| model | first | then, at most |
|---|---|---|
| convolutions and linear layers | 3 and the student: 4 | 3 |
| with a GRU or LSTM | 3 and the student: 4 | 2 |
| Transformer | 3, depth 2 and the student: 6 | 4 |
"""

from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import nn

from fedcomp.export.candidate import Recipe
from fedcomp.shrink.base import Step
from fedcomp.shrink.pruning.cut import example_of
from fedcomp.shrink.pruning.depth import residual_layers
from fedcomp.shrink.pruning.heads import owns_heads
from fedcomp.shrink.registry import step_from_config

RATIOS = (0.5, 0.7, 0.85)


def recipes_for(
    module: nn.Module,
    recovery: Step,
    row: NDArray[Any],
    ratios: Sequence[float] = RATIOS,
    *,
    student: bool,
) -> list[Recipe]:
    """Return the dense model as it is, and every way to cut it that its layers allow, at every ratio of what is cut.

    ``recovery`` follows each cut: pruning in one shot leaves a model that guesses. ``row`` has the shape and kind of
    what the model eats. With ``student``, the task's own small architecture is among them, trained from the start in
    the same way.
    """
    found = [Recipe("dense")]
    for ratio in ratios:
        cut = step_from_config({"id": cut_of(module), "ratio": ratio})
        found.append(Recipe(f"{cut.id} {ratio:.0%}", (cut, recovery)))
    if ratios and cut_of(module) == "heads":
        found += [Recipe(name, (cut, recovery)) for name, cut in _depths(module, row)]
    if student:
        found.append(Recipe("student", (recovery,), origin="student"))
    return found


def cut_of(module: nn.Module) -> str:
    """Return the id of the step that makes layers of ``module`` narrower."""
    layers = list(module.modules())
    if any(isinstance(layer, nn.GRU | nn.LSTM) for layer in layers):
        return "recurrent"  # Torch-Pruning cannot follow them, so nothing else is cut in such a model
    return "heads" if any(map(owns_heads, layers)) else "channels"


def _depths(module: nn.Module, row: NDArray[Any]) -> Iterator[tuple[str, Step]]:
    """Yield the last stack of layers cut down to one, which of an encoder and a decoder is the latter; then all."""
    found = residual_layers(module, example_of(row.shape, row.dtype))
    deep = [name for name, places in found.items() if len(places) > 1 and "." not in name]
    if deep:
        yield f"{deep[-1]} 1", step_from_config({"id": "depth", "stack": deep[-1], "keep": 1})
    if len(deep) > 1:
        yield "depth 1", step_from_config({"id": "depth", "keep": 1})
    elif deep and len(found[deep[0]]) > 3:
        half = len(found[deep[0]]) // 2
        yield f"depth {half}", step_from_config({"id": "depth", "stack": deep[0], "keep": half})
