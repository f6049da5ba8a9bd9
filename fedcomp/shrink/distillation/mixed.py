"""Federation of models of different shapes, by what they answer to public rows (FedMD).

Li and Wang, *FedMD: Heterogenous federated learning via model distillation* (2019): all client models score the same
public rows, the mean of their scores is the consensus, and each model is trained towards it. No weights are averaged,
so each client may have the architecture that its device can carry.

What is exchanged are scores of public rows. Whether a client's scores may be seen follows its model's privacy: see the
table of ``fedcomp.shrink.distillation.ensemble``. Training a model towards the consensus makes it depend on every
client that spoke; under mode ``local`` that is post-processing of models that were noised before they left.
"""

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import nn

from fedcomp.shrink.base import Material
from fedcomp.shrink.distillation.ensemble import EnsembleTeacher
from fedcomp.shrink.distillation.lesson import Lesson, prepare
from fedcomp.shrink.distillation.recover import Distil, learn


def consensus(
    models: Sequence[nn.Module], material: Material, options: Distil, rng: np.random.Generator, *, mode: str
) -> Lesson:
    """Return the material's rows with the mean of what ``models`` score them, asked once for all that learn from it.

    Raises:
        ConfigError: under a privacy mode whose client models may not be used.
        ShrinkError: without rows.
        ValueError: for no models, or scores of different shapes.
    """
    together = dataclasses.replace(material, teacher=EnsembleTeacher(models, mode))
    return prepare(together, options.copies, options.padding, rng)


def towards_consensus(
    models: Sequence[nn.Module], material: Material, options: Distil, rng: np.random.Generator, *, mode: str
) -> list[nn.Module]:
    """Return a copy of each model, trained towards the consensus of all as they came, in eval mode.

    The first half of a FedMD round; the second, a few steps on its own rows, is each client's to take. Hints are left
    out: models of different shapes have no layers in common.

    Raises:
        ConfigError, ShrinkError, ValueError: as ``consensus`` and ``learn`` do.
    """
    lesson = consensus(models, material, options, rng, mode=mode)
    trained = [copy.deepcopy(model) for model in models]
    for model, own in zip(trained, rng.spawn(len(trained)), strict=True):
        learn(model, lesson, dataclasses.replace(options, feature_weight=0.0), own)
    return trained
