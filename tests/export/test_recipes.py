import numpy as np
import pytest
from torch import nn

from fedcomp.export.recipes import RATIOS, cut_of, recipes_for
from fedcomp.shrink.distillation.recover import Distil
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.tasks.models.resnet import resnet
from fedcomp.tasks.models.transformer import Transformer, TransformerShape

RECOVERY = Distil(epochs=1)
TOKENS, IMAGE = np.zeros(9, np.int64), np.zeros((1, 8, 8), np.float32)


def transformer(encoder=2, decoder=2):
    layers = {"encoder_layers": encoder, "decoder_layers": decoder}
    return Transformer(TransformerShape(20, 5, 4, pad=0, width=16, heads=4, hidden=32, **layers))


def names(module, row, ratios=RATIOS, student=False):
    return [recipe.name for recipe in recipes_for(module, RECOVERY, row, ratios, student=student)]


def test_what_has_convolutions_loses_channels_at_every_ratio():
    recipes = recipes_for(resnet(1, 3, (8, 16)), RECOVERY, IMAGE, student=True)
    assert [recipe.name for recipe in recipes] == ["dense", "channels 50%", "channels 70%", "channels 85%", "student"]
    assert [len(recipe.steps) for recipe in recipes] == [0, 2, 2, 2, 1]
    assert all(recipe.steps[-1] is RECOVERY for recipe in recipes[1:])
    assert recipes[-1].origin == "student"


def test_what_has_recurrent_layers_loses_units():
    module = conv_gru(bands=6, num_classes=3, filters=4, hidden=16)
    assert names(module, np.zeros((1, 10, 6), np.float32), (0.5,)) == ["dense", "recurrent 50%"]


def test_a_transformer_loses_heads_and_layers():
    found = recipes_for(transformer(), RECOVERY, TOKENS, (0.5,), student=False)
    assert [recipe.name for recipe in found] == ["dense", "heads 50%", "decoder 1", "depth 1"]
    assert found[2].steps[0].config() == {"id": "depth", "stack": "decoder", "keep": 1}
    assert names(transformer(decoder=1), TOKENS, (0.5,)) == ["dense", "heads 50%", "encoder 1"]
    assert names(transformer(encoder=5, decoder=1), TOKENS, (0.5,)) == ["dense", "heads 50%", "encoder 1", "depth 2"]
    assert names(transformer(1, 1), TOKENS, (0.5,)) == ["dense", "heads 50%"]


def test_without_ratios_nothing_is_cut():
    assert names(transformer(), TOKENS, ()) == ["dense"]
    assert names(transformer(), TOKENS, (), student=True) == ["dense", "student"]


RECURRENT = nn.Sequential(nn.Linear(2, 2), nn.GRU(2, 2))


@pytest.mark.parametrize(
    ("module", "kind"), [(transformer(), "heads"), (RECURRENT, "recurrent"), (nn.Linear(2, 2), "channels")]
)
def test_the_cut_is_the_one_that_fits_the_layers(module, kind):
    assert cut_of(module) == kind
