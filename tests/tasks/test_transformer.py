"""The Transformer: causal, indifferent to padding, the same step by step, narrower by surgery, and fit for DP-SGD."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.tasks.models.attention import Full, TopK, Windowed
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from fedcomp.tasks.translation import Translation
from fedcomp.training import check_private_model, choose_engine

PAD, SOURCE, TARGET, VOCABULARY = 2, 6, 7, 30


def transformer(**sizes):
    torch.manual_seed(0)
    options = {"width": 16, "heads": 2, "hidden": 24, "encoder_layers": 2, "decoder_layers": 2} | sizes
    return Transformer(TransformerShape(VOCABULARY, SOURCE, TARGET, PAD, **options)).eval()


def tokens(rows=3):
    found = torch.from_numpy(np.random.default_rng(0).integers(3, VOCABULARY, (rows, SOURCE + TARGET)))
    found[1, SOURCE - 2 : SOURCE] = PAD
    return found


@pytest.mark.parametrize("attention", [Full(), Windowed(2), TopK(3)])
def test_step_by_step_gives_the_logits_of_the_whole(attention):
    model, rows = transformer(attention=attention), tokens()
    with torch.no_grad():
        logits = model(rows)
        memory, cache = model.memory(rows[:, :SOURCE]), model.empty(len(rows))
        assert logits.shape == (3, TARGET, VOCABULARY)
        for place in range(TARGET):
            found, cache = model.step(rows[:, SOURCE + place : SOURCE + place + 1], memory, cache)
            torch.testing.assert_close(found, logits[:, place])


def test_a_place_sees_no_later_target_token():
    model, rows = transformer(), tokens()
    later = rows.clone()
    later[:, SOURCE + 4] = 5
    with torch.no_grad():
        before, after = model(rows), model(later)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_padding_of_the_source_is_not_seen():
    model, rows = transformer(), tokens()
    with torch.no_grad():
        short = model.memory(rows[1:2, : SOURCE - 2])
        whole = model.memory(rows[1:2, :SOURCE])
        start = rows[1:2, SOURCE : SOURCE + 1]
        ours, theirs = (model.step(start, memory, model.empty(1))[0] for memory in (short, whole))
    torch.testing.assert_close(ours, theirs)


def test_heads_and_hidden_units_can_be_taken_out():
    """A head whose output weights are zero, and a hidden unit likewise, can go without a trace."""
    model = transformer()
    for heads in (each for each in model.modules() if hasattr(each, "head_width")):
        with torch.no_grad():
            heads.output.weight[:, 8:] = 0
    for feed in (each for each in model.modules() if hasattr(each, "wide")):
        with torch.no_grad():
            feed.narrow.weight[:, 20:] = 0
    smaller = copy.deepcopy(model)
    for heads in (each for each in smaller.modules() if hasattr(each, "head_width")):
        heads.query, heads.key, heads.value = (outputs(layer, 8) for layer in (heads.query, heads.key, heads.value))
        heads.output = inputs(heads.output, 8)
        assert heads.heads == 1
    for feed in (each for each in smaller.modules() if hasattr(each, "wide")):
        feed.wide, feed.narrow = outputs(feed.wide, 20), inputs(feed.narrow, 20)
    with torch.no_grad():
        torch.testing.assert_close(smaller(tokens()), model(tokens()))
        source, first = tokens()[:, :SOURCE], tokens()[:, SOURCE : SOURCE + 1]
        found, cache = smaller.step(first, smaller.memory(source), smaller.empty(3))
        torch.testing.assert_close(found, model(tokens())[:, 0])
        assert cache[0].shape == (3, 1, 1, 8)


def outputs(layer, count):
    smaller = nn.Linear(layer.in_features, count)
    smaller.load_state_dict({name: value[:count] for name, value in layer.state_dict().items()})
    return smaller


def inputs(layer, count):
    smaller = nn.Linear(count, layer.out_features)
    smaller.load_state_dict({"weight": layer.weight[:, :count], "bias": layer.bias})
    return smaller


@pytest.mark.parametrize("attention", [Full(), Windowed(2), TopK(3)])
def test_dp_sgd_can_train_it(attention):
    model = transformer(encoder_layers=1, decoder_layers=1, attention=attention)
    check_private_model(model)
    rows, targets = np.zeros((1, SOURCE + TARGET), np.int64), np.zeros((1, TARGET), np.int64)
    loss = Translation.__new__(Translation).loss  # needs no data
    assert choose_engine(model, loss, rows, targets).engine.name == "ghost"


def test_only_weights_are_saved():
    assert all(name.endswith(("weight", "bias")) for name in transformer().state_dict())


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="decoder_layers must be at least 1, got 0"):
        transformer(decoder_layers=0)
    with pytest.raises(ValueError, match="multiple of the 3 heads, got 16"):
        transformer(heads=3)
