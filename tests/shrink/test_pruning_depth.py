import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.pruning.cut import example_of
from fedcomp.shrink.pruning.depth import Depth, residual_layers
from fedcomp.shrink.pruning.heads import Heads
from fedcomp.shrink.widths import resized, thinned, widths_of
from fedcomp.tasks import load_task
from fedcomp.tasks.models.transformer import Transformer, TransformerShape
from shrink.module_kit import answers, loss, made, material, rows


class Residual(nn.Module):
    def __init__(self, width, after=None):
        super().__init__()
        self.wide, self.narrow, self.after = nn.Linear(width, 2 * width), nn.Linear(2 * width, width), after

    def forward(self, states):
        total = states + self.narrow(torch.relu(self.wide(states)))
        return total if self.after is None else self.after(total)


class Indexed(nn.Module):
    """Asks for its second layer by number."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Residual(8), Residual(8)])

    def forward(self, states):
        return self.layers[1](self.layers[0](states))


def cut(module, given=None, **options):
    given = material("perceptron") if given is None else given
    return Depth(**options).apply(module.eval(), given, np.random.default_rng(0))


def deep(encoder=5, decoder=3):
    shape = TransformerShape(
        20, 5, 4, pad=0, width=16, heads=4, hidden=32, encoder_layers=encoder, decoder_layers=decoder
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return Transformer(shape).eval()


def found_in(module, shape=(8,)):
    return residual_layers(module.eval(), example_of(shape, np.dtype(np.float32)))


def test_layers_that_stay_are_evenly_spaced_from_the_first():
    module = deep()
    for keep, places in ((1, [0]), (2, [0, 2]), (3, [0, 1, 3]), (4, [0, 1, 2, 3])):
        smaller = cut(module, material("transformer"), stack="encoder", keep=keep)
        assert widths_of(smaller)["encoder"] == {"type": "ModuleList", "layers": places}
        for mine, place in zip(smaller.encoder, places, strict=True):
            assert torch.equal(mine.feed.wide.weight, module.encoder[place].feed.wide.weight)
        assert len(smaller.decoder) == 3


def test_all_lists_lose_layers_if_none_is_named():
    smaller = cut(deep(), material("transformer"), keep=2)
    assert (len(smaller.encoder), len(smaller.decoder)) == (2, 2)
    smaller = cut(deep(encoder=2), material("transformer"), keep=2)  # the encoder has no more than that
    assert (len(smaller.encoder), len(smaller.decoder)) == (2, 2)


def test_a_shallow_transformer_decodes_with_its_cache_as_it_answers_whole_rows():
    smaller = cut(deep(), material("transformer"), stack="decoder")
    given = torch.from_numpy(rows("transformer"))
    with torch.no_grad():
        expected = smaller(given)
        memory, cache = smaller.memory(given[:, :5]), smaller.empty(len(given))
        assert (len(memory), len(cache)) == (3, 2)
        for place in range(4):
            logits, cache = smaller.step(given[:, 5 + place : 6 + place], memory, cache)
            torch.testing.assert_close(logits, expected[:, place])


def test_the_state_fits_a_shallow_transformer_made_from_the_start():
    smaller = cut(deep(), material("transformer"), stack="decoder")
    other = deep(decoder=1)
    other.load_state_dict(smaller.state_dict())
    np.testing.assert_array_equal(answers(other, rows("transformer")), answers(smaller, rows("transformer")))


def test_depth_and_heads_go_together_and_come_back_from_their_widths():
    module, given = deep(), material("transformer")
    smaller = Heads().apply(cut(module, given, stack="decoder"), given, np.random.default_rng(0))
    again = resized(deep(), json.loads(json.dumps(widths_of(smaller)))).eval()
    again.load_state_dict(smaller.state_dict())
    np.testing.assert_array_equal(answers(again, rows("transformer")), answers(smaller, rows("transformer")))


def test_a_list_that_was_cut_twice_knows_the_places_it_had_at_first():
    given = material("transformer")
    smaller = cut(cut(deep(), given, stack="encoder", keep=3), given, stack="encoder", keep=2)
    assert widths_of(smaller)["encoder"]["layers"] == [0, 1]
    module = deep()
    thinned(module, "encoder", [1, 3, 4])
    assert widths_of(cut(module, given, stack="encoder", keep=2))["encoder"]["layers"] == [1, 3]


def test_what_else_is_in_a_list_stays():
    module = nn.Sequential(
        nn.Linear(8, 8), nn.ReLU(), Residual(8), Residual(8), nn.Dropout(), Residual(8), nn.Linear(8, 3)
    )
    smaller = cut(module)
    assert [type(layer).__name__ for layer in smaller] == ["Linear", "ReLU", "Residual", "Dropout", "Linear"]
    assert widths_of(smaller)[""] == {"type": "Sequential", "layers": [0, 1, 2, 4, 6]}


def test_a_layer_is_residual_if_it_hands_on_what_it_gets_without_its_weights():
    behind_relu = nn.Sequential(nn.ReLU(), Residual(8, nn.ReLU()), Residual(8, nn.ReLU()))
    assert found_in(behind_relu) == {"": [1, 2]}
    assert found_in(nn.Sequential(Residual(8, nn.ReLU()), Residual(8, nn.ReLU()))) == {"": [1]}  # the first gets a wave
    assert found_in(nn.Sequential(Residual(8, nn.LayerNorm(8)), Residual(8, nn.LayerNorm(8)))) == {}
    assert found_in(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))) == {}
    layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True) for _ in range(2)]
    assert found_in(nn.Sequential(*layers), (4, 8)) == {"": [0, 1]}


def test_a_layer_that_gets_nothing_but_zeros_shows_nothing():
    class Silent(nn.Module):
        def forward(self, states):
            return 0 * states

    assert found_in(nn.Sequential(Silent(), Residual(8))) == {}


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (made("perceptron"), {}, "a list of more than 1 residual layers, .* got a Sequential without"),
        (nn.Sequential(Residual(8), Residual(8)), {"keep": 2}, "more than 2 residual layers"),
        (
            nn.Sequential(Residual(8), Residual(8)),
            {"stack": "body"},
            r"in the list 'body', got 0 \(a Sequential has {'': 2}\)",
        ),
        (Indexed(), {"stack": "layers"}, "no longer fit together after the cut"),
        (nn.Sequential(nn.Linear(9, 9)), {}, r"expected a model of rows \[8\], got one that fails"),
    ],
)
def test_what_cannot_lose_layers_is_refused(module, options, message):
    with pytest.raises(ShrinkError, match=message):
        cut(module, **options)


def test_layers_with_shared_weights_are_refused():
    layer = Residual(8)
    with pytest.raises(ShrinkError, match="must not change what is left"):
        cut(nn.Sequential(layer, layer, Residual(8)))


@pytest.mark.parametrize(
    ("options", "message"), [({"keep": 0}, "keep"), ({"keep": 1.5}, "keep"), ({"stack": 3}, "stack")]
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Depth(**options)


def test_named_layers_keep_their_names():
    module = nn.Sequential()
    for name in ("one", "two", "three"):
        module.add_module(name, Residual(8))
    smaller = cut(module, keep=2)
    assert [name for name, _ in smaller.named_children()] == ["one", "two"]
    again = resized(copy.deepcopy(module), widths_of(smaller))
    again.load_state_dict(smaller.state_dict())


class Encoder(nn.Module):
    """Six layers of attention over the eight rows of a digit."""

    def __init__(self):
        super().__init__()
        self.enter, self.norm, self.leave = nn.Linear(8, 32), nn.LayerNorm(32), nn.Linear(32, 10)
        self.places = nn.Parameter(0.1 * torch.randn(8, 32))
        layers = [
            nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True) for _ in range(6)
        ]
        self.layers = nn.ModuleList(layers)

    def forward(self, pixels):
        states = self.enter(pixels.reshape(-1, 8, 8)) + self.places
        for layer in self.layers:
            states = layer(states)
        return self.leave(self.norm(states).mean(1))


def trained(seed):
    train = load_task("digits").train()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        module, steps = Encoder(), 500
        optimizer = torch.optim.AdamW(module.parameters(), lr=2e-3)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
        for _ in range(steps):
            batch = torch.randint(len(train), (32,))
            given, targets = torch.from_numpy(train.inputs)[batch], torch.from_numpy(train.targets)[batch]
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(given), targets).backward()
            optimizer.step()
            rates.step()
    return module


@pytest.mark.slow  # trains two encoders
def test_an_encoder_that_keeps_its_first_layer_answers_better_before_it_has_learned_again():
    task = load_task("digits")
    test, given = task.test(), Material(task.train().inputs, None, "public", loss)

    def right(module):
        return float((answers(module.eval(), test.inputs).argmax(1) == test.targets).mean())

    with_first, without = [], []
    for seed in range(2):
        module = trained(seed)
        assert right(module) > 0.9
        smaller = cut(module, given, stack="layers", keep=3)
        assert widths_of(smaller)["layers"]["layers"] == [0, 2, 4]
        with_first.append(right(smaller))
        other = copy.deepcopy(module)
        thinned(other, "layers", [1, 3, 5])
        without.append(right(other))
    assert np.mean(with_first) > np.mean(without) + 0.1
