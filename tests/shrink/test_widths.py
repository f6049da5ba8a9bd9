import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import ShrinkError
from fedcomp.shrink.factored import Factored, factored_like
from fedcomp.shrink.widths import replaced, resized, thinned, widths_of
from fedcomp.tasks.models.conv_gru import conv_gru
from fedcomp.tasks.models.ds_cnn import ds_cnn
from fedcomp.tasks.models.mobilenet import mobilenet
from fedcomp.tasks.models.resnet import resnet
from shrink.module_kit import MAKERS, answers, made, rows

NARROW = {
    "perceptron": lambda: nn.Sequential(
        nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 16), nn.ReLU(), factored_like(nn.Linear(16, 3), 2)
    ),
    "resnet": lambda: resnet(1, 3, widths=(8, 24), blocks=2),
    "separable": lambda: ds_cnn(3, width=8, blocks=2),
    "mobile": lambda: mobilenet(1, 3, image_size=16, stages=((1, 8, 1, 1), (4, 8, 2, 2))),
    "gru": lambda: conv_gru(bands=6, num_classes=3, filters=2, hidden=5),
    "normalised": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.GroupNorm(4, 8),
        *made("normalised")[2:5],
        nn.Linear(8 * 16, 16),
        *made("normalised")[6:],
    ),
    "lstm": lambda: made("lstm"),
    "transformer": lambda: made("transformer"),
}


def fill(module):
    for number, parameter in enumerate(module.parameters()):
        with torch.no_grad():
            parameter.copy_(torch.sin(torch.arange(parameter.numel()) + number).reshape(parameter.shape) / 3)
    return module.eval()


@pytest.mark.parametrize("kind", NARROW)
def test_a_narrow_model_comes_back_from_the_dense_one_its_widths_and_its_state(kind):
    narrow, dense = fill(NARROW[kind]()), made(kind)
    before = copy.deepcopy(dense.state_dict())
    again = resized(MAKERS[kind][0](), json.loads(json.dumps(widths_of(narrow)))).eval()
    again.load_state_dict(narrow.state_dict())
    np.testing.assert_array_equal(answers(again, rows(kind)), answers(narrow, rows(kind)))
    assert widths_of(again) == widths_of(narrow)
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())


def test_widths_are_what_a_reader_expects():
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.LayerNorm([4, 6]), nn.Embedding(9, 2))
    module.append(factored_like(nn.Linear(8, 6), 2))
    assert widths_of(module) == {
        "0": {"type": "Conv2d", "in_channels": 4, "out_channels": 4, "groups": 4},
        "1": {"type": "LayerNorm", "normalized_shape": 6},
        "2": {"type": "Embedding", "num_embeddings": 9, "embedding_dim": 2},
        "3": {"type": "Factored", "in_features": 8, "out_features": 6, "rank": 2},
    }


def test_layers_that_keep_their_sizes_keep_their_weights_and_others_are_zero():
    dense = made("perceptron")
    widths = widths_of(dense)
    widths["0"]["out_features"] = widths["2"]["in_features"] = 4
    module = resized(dense, widths)
    assert torch.equal(module[4].weight, dense[4].weight)
    assert module[0].weight.shape == (4, 8)
    assert not module[0].weight.any()


def test_torchs_generator_is_left_alone():
    dense, pair = made("perceptron"), factored_like(nn.Linear(16, 3), 1)
    before = torch.get_rng_state()
    resized(dense, widths_of(dense) | {"4": widths_of(pair)[""]})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("0"), r"widths: expected the layers \['0', '2', '4'\], got \['2', '4'\]"),
        (lambda w: w.update({"9": {}}), "expected the layers"),
        (lambda w: w.update({"0": None}), "widths of 0: expected .* got None"),
        (lambda w: w["0"].pop("type"), "widths of 0: expected"),
        (lambda w: w["0"].update(type="Conv2d"), "widths of 0: expected"),
        (lambda w: w["0"].update(type=["Linear"]), "widths of 0: expected"),
        (lambda w: w["0"].update(rank=1), "widths of 0: expected"),
        (lambda w: w["0"].update(type="Factored", rank=9), r"rank must be in 1\.\.8, got 9"),
        (lambda w: w["0"].update(out_features=10**12), r"out_features must be in 1\.\.32, got 1000000000000"),
        (lambda w: w["0"].update(out_features=0), r"must be in 1\.\.32, got 0"),
        (lambda w: w["0"].update(out_features=True), "got True"),
        (lambda w: w["0"].update(out_features=4.0), r"got 4\.0"),
        (lambda w: w["0"].update(out_features="4"), "got '4'"),
    ],
)
def test_widths_of_no_smaller_version_are_refused_by_name(change, message):
    widths = widths_of(made("perceptron"))
    change(widths)
    with pytest.raises(ShrinkError, match=message):
        resized(made("perceptron"), widths)


@pytest.mark.parametrize("widths", [None, [], "0", {1: {}, "1": {}}])
def test_what_is_no_object_is_refused(widths):
    with pytest.raises(ShrinkError, match="widths: expected the layers"):
        resized(made("perceptron"), widths)


def test_groups_that_do_not_divide_channels_are_refused():
    dense = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    with pytest.raises(ShrinkError, match="in_channels must be a multiple of 3 groups, got 8"):
        resized(dense, {"0": {"type": "Conv2d", "in_channels": 8, "out_channels": 6, "groups": 3}})
    with pytest.raises(ShrinkError, match="widths of 0: expected"):
        resized(dense, {"0": {"type": "Factored", "in_channels": 8, "out_channels": 8, "rank": 1}})


def thin(kind, name, places):
    module = made(kind)
    thinned(module, name, places)
    return module


@pytest.mark.parametrize(
    ("kind", "name", "places"), [("transformer", "encoder", [1]), ("resnet", "", [0, 1, 2, 4, 5, 6, 7, 8])]
)
def test_a_model_that_lost_layers_comes_back_from_its_widths_and_can_be_cut_further(kind, name, places):
    module, dense = thin(kind, name, places), made(kind)
    before = copy.deepcopy(dense.state_dict())
    widths = json.loads(json.dumps(widths_of(module)))
    assert widths[name]["layers"] == places
    again = resized(dense, widths)
    again.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(answers(again, rows(kind)), answers(module, rows(kind)))
    assert widths_of(again) == widths_of(module)
    assert widths_of(resized(again, widths)) == widths  # of what lost them already
    assert all(torch.equal(value, before[each]) for each, value in dense.state_dict().items())


@pytest.mark.parametrize(
    ("name", "found", "message"),
    [
        ("encoder", {"layers": [2]}, r"widths of encoder: layers must be some of \[0, 1\], ascending, got \[2\]"),
        ("encoder", {"layers": []}, r"got \[\]"),
        ("encoder", {"layers": [1, 0]}, r"got \[1, 0\]"),
        ("encoder", {"layers": [1, 1]}, r"got \[1, 1\]"),
        ("encoder", {"layers": [True]}, r"got \[True\]"),
        ("encoder", {"layers": 1}, "got 1"),
        ("encoder", {"layers": [[0]]}, r"got \[\[0\]\]"),
        ("encoder", {"type": "Sequential", "layers": [0]}, "widths of encoder: expected .*ModuleList.* got"),
        ("encoder", {"type": "ModuleList", "layers": [0], "more": 1}, "widths of encoder: expected"),
        ("output", {"layers": [0]}, "widths of output: expected a list of layers, got Linear"),
        ("nowhere", {"layers": [0]}, "widths of nowhere: expected a list of layers, got NoneType"),
    ],
)
def test_layers_that_a_model_does_not_have_are_refused(name, found, message):
    widths = widths_of(thin("transformer", "encoder", [0]))
    widths[name] = found if "type" in found else {"type": "ModuleList", **found}
    with pytest.raises(ShrinkError, match=message):
        resized(made("transformer"), widths)


def test_layers_that_left_without_a_word_are_refused():
    widths = widths_of(thin("transformer", "encoder", [0]))
    del widths["encoder"]
    with pytest.raises(ShrinkError, match=r"expected the layers .*encoder\.1\.own"):
        resized(made("transformer"), widths)


def test_a_layer_is_replaced_under_all_its_names():
    layer, new = nn.Linear(2, 2), nn.Linear(2, 2)
    assert replaced(layer, layer, new) is new
    assert list(replaced(nn.Sequential(layer, nn.ReLU(), layer), layer, new))[::2] == [new, new]


def test_a_pair_has_the_attributes_of_what_it_stands_for():
    dense = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    pair = fill(factored_like(dense, 2))
    dense.weight.data, dense.bias.data = pair.weight.detach(), pair.bias.detach()
    images = torch.sin(torch.arange(4 * 49.0)).reshape(1, 4, 7, 7)
    torch.testing.assert_close(pair(images), dense(images))
    assert (pair.in_channels, pair.out_channels, pair.rank) == (4, 6, 2)
    assert isinstance(pair, Factored)
    with pytest.raises(AttributeError):
        pair.in_features  # noqa: B018
