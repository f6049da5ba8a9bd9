"""How much each group of units matters: how far answers move when a part of it alone is silent.

H. Li, A. Kadav, I. Durdanovic, H. Samet and H. P. Graf, *Pruning Filters for Efficient ConvNets* (2017), measured in
answers instead of accuracy, which moves in steps of a row.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fedcomp.shrink.base import Material
from fedcomp.shrink.distillation.lesson import distance_to, prepare
from fedcomp.shrink.pruning.cut import silenced
from fedcomp.shrink.pruning.groups import Group

SHARES = (0.25, 0.5, 0.75, 0.95)
"""Of a group's units: how many are silent when answers are compared."""
_ROWS = 256


def sensitivities(
    module: nn.Module,
    groups: Sequence[Group],
    scores: Sequence[NDArray[np.float64]],
    material: Material,
    padding: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return ``[groups, len(SHARES)]``: KL(module || module without a share of this group), a row's mean.

    Units leave in the order of their ``scores``, the smallest first. Answers are those of up to 256 of the material's
    rows, drawn at random; of sequences, those that are not ``padding``. A row of the result never falls: what fewer
    units do better is taken for chance.

    Raises:
        ShrinkError: without rows, or for a module whose outputs are not finite logits.
    """
    some = np.sort(rng.permutation(len(material.inputs))[:_ROWS])
    targets = None if material.targets is None else material.targets[some]
    shown = replace(material, inputs=material.inputs[some], targets=targets, teacher=module)
    lesson = prepare(shown, 1, padding, rng)
    found = np.zeros((len(groups), len(SHARES)))
    for number, (group, score) in enumerate(zip(groups, scores, strict=True)):
        for place, share in enumerate(SHARES):
            stays = max(1, round(group.units * (1 - share) / group.parts)) * group.parts
            silent = silenced(module, [group], [group.largest(score, stays)])
            found[number, place] = distance_to(silent, lesson)
    return np.maximum.accumulate(found, axis=1)
