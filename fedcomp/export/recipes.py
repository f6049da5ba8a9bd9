"""What is tried: ways to make a model smaller that fit its layers, each followed by distillation from the dense one."""

from collections.abc import Iterator, Sequence

from torch import nn

from fedcomp.export.candidate import Recipe
from fedcomp.shrink.base import Step
from fedcomp.shrink.pruning.heads import owns_heads
from fedcomp.shrink.registry import step_from_config

RATIOS = (0.5, 0.7, 0.85)


def recipes_for(module: nn.Module, recovery: Step, ratios: Sequence[float] = RATIOS, *, student: bool) -> list[Recipe]:
    """Return the dense model as it is, and every way to cut it that its layers allow, at every ratio of what is cut.

    ``recovery`` follows each cut: pruning in one shot leaves a model that guesses. With ``student``, the task's own
    small architecture is among them, trained from the start in the same way.
    """
    found = [Recipe("dense")]
    for kind in _kinds(module):
        for ratio in ratios:
            cut = step_from_config({"id": kind, "ratio": ratio})
            found.append(Recipe(f"{kind} {ratio:.0%}", (cut, recovery)))
    if student:
        found.append(Recipe("student", (recovery,), origin="student"))
    return found


def _kinds(module: nn.Module) -> Iterator[str]:
    layers = list(module.modules())
    if any(isinstance(layer, nn.GRU | nn.LSTM) for layer in layers):
        yield "recurrent"  # Torch-Pruning cannot follow them, so nothing else is cut in such a model
    elif any(map(owns_heads, layers)):
        yield "heads"
    else:
        yield "channels"
