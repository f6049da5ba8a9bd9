"""Federation of models of different shapes."""

import numpy as np
import pytest
import torch
from distillation_kit import agreement, material, perceptron, sharp, vectors
from torch import nn

from fedcomp.errors import ConfigError
from fedcomp.shrink.distillation import Distil
from fedcomp.shrink.distillation.ensemble import EnsembleTeacher
from fedcomp.shrink.distillation.mixed import consensus, towards_consensus
from fedcomp.threads import single_thread

OPTIONS = Distil(epochs=15, batch_size=30, learning_rate=0.01, temperature=1.0)


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def clients() -> list[nn.Module]:
    return [sharp(perceptron(width, seed)) for width, seed in ((8, 1), (16, 2), (24, 3))]


def together(models: list[nn.Module], seed: int = 0, mode: str = "none") -> list[nn.Module]:
    return towards_consensus(models, material(None), OPTIONS, np.random.default_rng(seed), mode=mode)


def test_the_consensus_is_the_mean_of_all_scores_and_is_asked_for_once():
    models, asked = clients(), []
    counted = nn.Sequential(models[0])
    lesson_models = [counted, *models[1:]]

    def note(module, inputs, outputs):
        asked.append(len(inputs[0]))

    counted.register_forward_hook(note)
    lesson = consensus(lesson_models, material(None), OPTIONS, np.random.default_rng(0), mode="local")
    everything = torch.zeros(300, dtype=torch.int64), torch.arange(300)
    mean = torch.stack([model(torch.from_numpy(vectors())) for model in models]).mean(0)
    torch.testing.assert_close(lesson.answers(*everything), mean.detach(), rtol=1e-4, atol=1e-5)
    assert sum(asked) == 301  # one row first, for the shape of answers


def test_models_of_all_shapes_come_to_agree_with_each_other():
    models = clients()
    before, after = EnsembleTeacher(models, "none"), together(models)
    for old, new in zip(models, after, strict=True):
        assert agreement(new, before) > agreement(old, before) + 0.05
        assert old[0].weight.shape == new[0].weight.shape
        assert not torch.equal(old[0].weight, new[0].weight)


def test_the_same_generator_gives_the_same_models():
    first, second = together(clients()), together(clients())
    assert all(torch.equal(a[0].weight, b[0].weight) for a, b in zip(first, second, strict=True))


def test_models_that_the_server_must_not_use_are_refused():
    with pytest.raises(ConfigError, match="got 'central'"):
        together(clients(), mode="central")
