import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.heads import Heads, owns_heads
from shrink.module_kit import answers, made, material, rows, size

RNG = np.random.default_rng(0)


def attentions(module):
    return [layer for layer in module.modules() if owns_heads(layer)]


def silence(module, heads=(1, 2), units=range(16)):
    with torch.no_grad():
        for layer in attentions(module):
            for head in heads:
                there = slice(4 * head, 4 * head + 4)
                for projection in (layer.query, layer.key, layer.value):
                    projection.weight[there] = projection.bias[there] = 0
                layer.output.weight[:, there] = 0
        for name, layer in module.named_modules():
            if name.endswith("wide"):
                layer.weight[list(units)] = layer.bias[list(units)] = 0
            if name.endswith("narrow"):
                layer.weight[:, list(units)] = 0


def test_silent_heads_and_units_leave_without_a_trace():
    module = made("transformer")
    silence(module)
    smaller = Heads(0.5).apply(module, material("transformer"), RNG)
    assert [layer.heads for layer in attentions(smaller)] == [2] * 4
    assert smaller.decoder[0].feed.wide.out_features == smaller.decoder[0].feed.narrow.in_features == 16
    assert size(smaller) < 0.65 * size(module)
    found, expected = (answers(each, rows("transformer")) for each in (smaller, module))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_smaller_transformer_still_decodes_step_by_step_what_it_answers_at_once():
    smaller = Heads(0.5).apply(made("transformer"), material("transformer"), RNG)
    tokens = torch.from_numpy(rows("transformer", 3))
    cache, memory = smaller.empty(3), smaller.memory(tokens[:, :5])
    for place in range(4):
        logits, cache = smaller.step(tokens[:, 5 + place : 6 + place], memory, cache)
        torch.testing.assert_close(logits, smaller(tokens)[:, place], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("step", "heads", "units"),
    [(Heads(0.25), 3, 24), (Heads(0.5, ffn_ratio=0), 2, 32), (Heads(0.25, 0.75), 3, 8), (Heads(0.99), 1, 8)],
)
def test_heads_and_hidden_units_go_by_their_own_shares_and_one_head_stays(step, heads, units):
    smaller = step.apply(made("transformer"), material("transformer"), RNG)
    assert {layer.heads for layer in attentions(smaller)} == {heads}
    assert smaller.encoder[0].feed.wide.out_features == units
    assert smaller.output.out_features == 20


class Attention(nn.Module):
    """The protocol: four linear layers of these names, and how wide a head is."""

    def __init__(self):
        super().__init__()
        self.head_width = 2
        self.query, self.key, self.value = nn.Linear(6, 6, bias=False), nn.Linear(6, 6), nn.Linear(6, 6)
        self.output = nn.Linear(6, 3)

    def forward(self, states):
        parts = [each(states).unflatten(2, (-1, 2)).transpose(1, 2) for each in (self.query, self.key, self.value)]
        return self.output(nn.functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))


def test_any_module_that_keeps_the_protocol_loses_heads():
    given = Material(np.zeros((1, 4, 6), np.float32), None, "none", material("perceptron").loss)
    module = Attention().eval()
    smaller = Heads(0.5).apply(module, given, RNG)
    assert [smaller.query.out_features, smaller.output.in_features, smaller.output.out_features] == [4, 4, 3]


def test_modules_without_such_attention_are_refused():
    with pytest.raises(ShrinkError, match="heads: expected attention that owns heads, got a Sequential without"):
        Heads().apply(made("resnet"), material("resnet"), RNG)
    assert not owns_heads(nn.MultiheadAttention(8, 2))


@pytest.mark.parametrize("options", [{"ratio": 1.0}, {"ffn_ratio": 1.0}, {"ffn_ratio": -0.1}, {"round_to": 0}])
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
        Heads(**options)
