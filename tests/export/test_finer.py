from dataclasses import replace

import numpy as np
import pytest
from torch import nn

from fedcomp.export.candidate import Measured
from fedcomp.export.finer import Lessons, finer_recipes
from fedcomp.export.recipes import recipes_for
from fedcomp.export.target import Target
from fedcomp.shrink.distillation.recover import Distil
from fedcomp.shrink.quantization_aware import QuantizationAware
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.tasks.models.transformer import Transformer, TransformerShape

LESSONS = Lessons(Distil(epochs=1), QuantizationAware(epochs=1), padding=3)
SMALL = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
LARGE = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 3))
TARGET = Target(accuracy_loss=1.0)
ROW = np.zeros(8, np.float32)
STATIC = frozenset({"int8-static"})


def transformer():
    return Transformer(
        TransformerShape(20, 5, 4, pad=0, width=16, heads=4, hidden=32, encoder_layers=2, decoder_layers=2)
    )


def candidate(recipe, loss, latency=1.0, number_format="fp32", spread=0.1):
    return Measured(
        name=f"{recipe} onnxruntime {number_format}",
        recipe=recipe,
        runtime="onnxruntime",
        number_format=number_format,
        bytes=1000,
        latency_ms=latency,
        speed_up=1 / latency,
        eager_speed_up=1 / latency,
        accuracy=0.9 - loss / 100,
        accuracy_loss=loss,
        loss_interval=(loss - spread, loss + spread),
        output_error=0.0,
    )


def finer(measured, module=SMALL, target=TARGET, row=ROW, made=None):
    recipes = recipes_for(module, LESSONS.recovery, row, student=True)
    modules = {recipe.name: (made or {}).get(recipe.name, module) for recipe in recipes}
    return {each.name: each for each in finer_recipes(recipes, modules, measured, target, LESSONS, STATIC)}


def measured(*losses, kind="channels"):
    cuts = [f"{kind} 50%", f"{kind} 70%", f"{kind} 85%"]
    return [candidate(name, loss, 1.0 / place) for place, (name, loss) in enumerate(zip(cuts, losses, strict=True), 1)]


@pytest.mark.parametrize(
    ("losses", "name", "ratio"),
    [
        ((0.2, 0.8, 1.5), "channels 85% by layer", 0.85),
        ((0.2, 1.2, 1.5), "channels 70% by layer", 0.7),
        ((1.2, 1.4, 1.5), "channels 50% by layer", 0.5),
        ((1.2, 0.4, 1.5), "channels 85% by layer", 0.85),
        ((0.2, 0.4, 0.6), "channels 92.5% by layer", 0.925),
    ],
)
def test_ratios_by_layer_are_tried_at_the_first_ratio_that_did_not_do(losses, name, ratio):
    found = finer(measured(*losses))
    assert list(found) == [name]
    step, recovery = found[name].steps
    assert step.config() == {"id": "channels-by-layer", "ratio": pytest.approx(ratio), "round_to": 8, "padding": 3}
    assert recovery is LESSONS.recovery
    assert found[name].after is None


def test_a_transformer_that_kept_the_target_with_fewer_layers_loses_heads_as_well():
    shallow = [candidate("decoder 1", 0.5, 0.6), candidate("depth 1", 3.0, 0.2)]
    found = finer([*measured(0.1, 0.9, 2.0, kind="heads"), *shallow], transformer(), row=np.zeros(9, np.int64))
    assert list(found) == ["heads 85% by layer", "decoder 1, heads 70%"]
    assert [step.id for step in found["decoder 1, heads 70%"].steps] == ["depth", "heads", "distil"]
    assert found["decoder 1, heads 70%"].steps[1].ratio == 0.7
    none_of_heads = finer([*measured(2.0, 2.0, 2.0, kind="heads"), *shallow], transformer(), row=np.zeros(9, np.int64))
    assert "decoder 1, heads 50%" in none_of_heads
    too_shallow = [replace(each, accuracy_loss=5.0) for each in shallow]
    found = finer([*measured(0.1, 0.9, 2.0, kind="heads"), *too_shallow], transformer(), row=np.zeros(9, np.int64))
    assert list(found) == ["heads 85% by layer"]


def test_low_rank_follows_the_fastest_where_most_weights_are_in_large_layers():
    losses = measured(0.1, 0.5, 3.0)
    made = {
        "channels 70%": nn.Sequential(nn.Linear(256, 152), nn.ReLU(), nn.Linear(152, 152), nn.ReLU(), nn.Linear(152, 3))
    }
    found = finer(losses, LARGE, row=np.zeros(256, np.float32), made=made)
    recipe = found["channels 70%, low rank"]
    assert recipe.after == "channels 70%"
    thin, recovery = recipe.steps
    assert recovery is LESSONS.recovery
    large = 256 * 152 + 152 * 152
    total = large + 152 * 3 + 152 + 152 + 3
    assert thin.keep == pytest.approx(1 - large / total / 2)
    assert not any("low rank" in name for name in finer(losses))  # 8 and 32 units are no large layers
    assert not any("low rank" in name for name in finer(measured(3, 3, 3), LARGE, row=np.zeros(256, np.float32)))


def unsure(candidates):
    return [replace(each, loss_interval=(each.accuracy_loss - 2, each.accuracy_loss + 2)) for each in candidates]


def test_with_rows_that_cannot_tell_nothing_goes_further_than_what_kept_the_target():
    assert finer(unsure(measured(0.2, 0.4, 0.6)), LARGE, row=np.zeros(256, np.float32)) == {}
    shallow = [*measured(0.1, 0.9, 2.0, kind="heads"), candidate("decoder 1", 0.5, 0.6)]
    found = finer(unsure(shallow), transformer(), row=np.zeros(9, np.int64))
    assert list(found) == ["heads 85% by layer"]  # no fewer multiply-adds than what was tried
    without_limit = Target(latency_ms=10.0)  # nothing to be sure of
    assert "channels 92.5% by layer" in finer(unsure(measured(0.2, 0.4, 0.6)), target=without_limit)


def twins(recipe, fp32, int8, times=(1.0, 0.4)):
    return [candidate(recipe, fp32, times[0]), candidate(recipe, int8, times[1], "int8-static")]


def test_what_only_int8_costs_too_much_is_trained_to_live_with_it():
    found = finer([*twins("channels 50%", 0.5, 2.0), *twins("channels 70%", 0.8, 4.0, (0.8, 0.3))])
    recipe = found["channels 70%, rounded"]
    assert (recipe.after, recipe.steps, recipe.formats) == ("channels 70%", (LESSONS.rounding,), STATIC)
    assert not any("50%, rounded" in name for name in found)


@pytest.mark.parametrize(
    "candidates",
    [
        twins("channels 50%", 0.5, 0.9),  # int8 does, too
        twins("channels 50%", 1.5, 2.0),  # the cut has cost it
        [*twins("channels 50%", 0.5, 2.0), candidate("channels 85%", 0.5, 0.3)],  # would not be the fastest
        twins("channels 50%", 0.5, 2.0, (0.4, 0.6)),  # int8 is no faster
    ],
)
def test_training_for_int8_is_not_tried_where_it_cannot_win(candidates):
    assert not any("rounded" in name for name in finer(candidates))


def test_without_a_limit_on_accuracy_nothing_is_trained_for_int8():
    losses = [*twins("channels 50%", 0.5, 2.0)]
    assert not any("rounded" in name for name in finer(losses, target=Target(bytes=2000)))
    assert not any("rounded" in name for name in finer(losses, target=Target(accuracy_loss=1.0, bytes=10)))


def test_recurrent_models_have_no_ratios_by_layer_and_what_failed_to_be_made_is_not_gone_on_from():
    module = conv_gru(bands=6, num_classes=3, filters=4, hidden=16)
    assert finer([candidate("dense", 0.0)], module, row=np.zeros((1, 10, 6), np.float32)) == {}
    recipes = recipes_for(SMALL, LESSONS.recovery, np.zeros(8, np.float32), student=False)
    assert finer_recipes(recipes, {"dense": SMALL}, [candidate("dense", 0.0)], TARGET, LESSONS, STATIC) == []
