"""Which engine a model gets: one that clips it rightly, the fastest by a rule, found out once for each structure."""

import gc
import logging
import weakref

import numpy as np
import pytest
import torch
from opacus.layers import DPLSTM
from private_kit import Tied, cross_entropy, frozen_front, linear, network, perceptron, rows, seeded
from torch import nn

from benchmarks.clipping_engines import CASES, Case, measure, table
from fedcomp.training import UnsupportedModel, check_private_model
from fedcomp.training import engines as engines_module
from fedcomp.training.clipping import GhostClipping, HookClipping
from fedcomp.training.engines import EngineChoice, choose_engine
from fedcomp.training.linear_clipping import LinearClipping
from fedcomp.training.probe import made_up_model, made_up_rows, problem
from fedcomp.training.vmap_clipping import VmapClipping

INPUTS, TARGETS = np.full((1, 12), np.nan, np.float32), np.zeros(1, np.int64)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(engines_module, "_choices", {})


def choose(module: nn.Module, inputs=INPUTS, targets=TARGETS, loss=cross_entropy) -> EngineChoice:
    return choose_engine(module, loss, inputs, targets)


class Centred(nn.Module):
    """Mixes the examples of a batch, in no layer that a list could name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.layer(inputs - inputs.mean(dim=0))


class Counting(Centred):
    """Keeps the sum of what it saw in a buffer that is saved with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Module()
        self.seen.register_buffer("total", torch.zeros(12))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.total += inputs.detach().sum(dim=0)
        return self.layer(inputs)


class Escaping(nn.Module):
    """Uses a weight outside of its layer too: Opacus clips by a part of its gradient and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.linear(self.first(inputs).tanh(), 5 * self.first.weight))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells, self.last = DPLSTM(3, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.cells(inputs.reshape(len(inputs), 4, 3))[0][:, -1])


class Unmappable(nn.Module):
    """Shares a weight, and looks at a value: neither Opacus' ghost clipping nor vmap can take that."""

    def __init__(self) -> None:
        super().__init__()
        self.tied = Tied()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.tied(inputs) if float(inputs.detach().abs().sum()) >= 0 else inputs


CHOICES = {
    "linear": (linear, LinearClipping, "closed form"),
    "frozen front": (frozen_front, LinearClipping, "closed form"),
    "dropout": (lambda: nn.Sequential(linear(), nn.Dropout(0.5)), LinearClipping, "closed form"),
    "perceptron": (perceptron, GhostClipping, "99 gradient values a row, and 0 unfolded by convolutions"),
    "small convolution": (network, GhostClipping, "363 gradient values a row, and 108 unfolded"),
    "recurrent": (lambda: seeded(Recurrent), GhostClipping, "0 unfolded"),
    "tied": (lambda: seeded(Tied), VmapClipping, "not ghost: no gradient by example can be computed: Parameter tying"),
    "escaping": (lambda: seeded(Escaping), VmapClipping, "not ghost: parameter 'first.weight'"),
    "unmappable": (lambda: seeded(Unmappable), HookClipping, "not vmap: no gradient by example can be computed"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_each_model_has_its_engine_and_a_reason(case, caplog):
    make, engine, reason = CHOICES[case]
    module = make()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with caplog.at_level(logging.INFO, "fedcomp.training.engines"):
        choice = choose(module)
    assert choice.engine is engine
    assert reason in choice.reason
    assert f"clipping engine {engine.name}: {choice.reason}" in caplog.text
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(layer._forward_hooks or layer._backward_hooks for layer in module.modules())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Centred, "parameter 'layer.weight'"),
        (Counting, "buffer 'seen.total' changes in training"),
    ],
)
def test_what_only_shows_in_running_is_refused_too(make, words):
    module = seeded(make)
    check_private_model(module)  # nothing to see yet
    with pytest.raises(UnsupportedModel, match=words):
        choose(module)


def test_a_model_that_does_not_take_the_rows_is_refused():
    with pytest.raises(UnsupportedModel, match="no gradient by example"):
        choose(linear(), np.zeros((1, 5), np.float32))


def test_integer_rows():
    module = seeded(lambda: nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3)))
    assert choose(module, np.zeros((1, 5), np.int64)).engine is GhostClipping


def test_a_wide_convolution_is_mapped_and_a_wide_layer_is_not():
    """Ghost clipping unfolds inputs of convolutions: fewer values than a small model has, more than a large one."""
    image = np.zeros((1, 1, 12, 12), np.float32)

    def model(hidden: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, hidden), nn.Linear(hidden, 3))

    small, large = choose(model(4), image), choose(model(64), image)
    assert (small.engine, large.engine) == (VmapClipping, GhostClipping)
    assert "900 unfolded" in small.reason


def test_a_loss_that_mixes_examples_is_refused():
    def mixing(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return cross_entropy(outputs - outputs.mean(dim=0), targets)

    with pytest.raises(UnsupportedModel, match="parameter 'weight'"):
        choose(linear(), loss=mixing)


def test_a_mistake_does_not_hide_behind_a_weight_that_is_zero():
    module = seeded(Escaping)
    with torch.no_grad():
        module.first.weight.zero_(), module.last.weight.zero_()
    assert choose(module).engine is VmapClipping
    made_up = made_up_model(module)
    assert all(parameter.detach().abs().min() > 0 for parameter in made_up.parameters())


@pytest.mark.parametrize("engine", [GhostClipping, HookClipping])
def test_opacus_engines_fail_the_check_on_a_weight_that_escapes(engine):
    rows_, answers = made_up_rows(INPUTS, TARGETS)
    assert "first.weight" in problem(engine, made_up_model(seeded(Escaping)), cross_entropy, rows_, answers)
    assert problem(VmapClipping, made_up_model(seeded(Escaping)), cross_entropy, rows_, answers) is None


@pytest.fixture
def checks(monkeypatch) -> list[str]:
    """What was checked, in order."""
    made: list[str] = []

    def counted(engine, *arguments):
        made.append(engine.name)
        return problem(engine, *arguments)

    monkeypatch.setattr(engines_module, "problem", counted)
    return made


def test_a_structure_is_checked_once_whatever_its_weights(checks):
    first, second = network(), network()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.zero_()
    assert choose(first) is choose(second.eval())
    assert checks == ["ghost"]


def test_another_structure_shape_or_loss_is_checked_anew(checks):
    def other_loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 2 * cross_entropy(outputs, targets)

    frozen, tied, wider = network(), nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 12)), nn.Linear(12, 4)
    choose(network())
    frozen[7].requires_grad_(False)
    choose(frozen)
    choose(tied)
    tied[1].weight = tied[0].weight
    choose(tied)
    choose(wider)
    choose(nn.Linear(12, 3))
    choose(nn.Linear(12, 3), loss=other_loss)
    choose(nn.Linear(12, 3), targets=np.zeros(1, np.int32))
    assert len(engines_module._choices) == 8
    assert len(checks) > 8  # tied weights took two


def test_a_model_or_a_loss_that_may_hide_something_is_checked_in_every_call(checks):
    class Callable_:
        def __call__(self, outputs, targets):
            return cross_entropy(outputs, targets)

    choose(linear(), loss=Callable_())
    module = linear()
    module.anything = object()
    choose(module)
    hooked = linear()
    hooked.register_forward_hook(lambda *_: None)
    choose(hooked)
    assert checks == ["linear"] * 3
    assert not engines_module._choices


def test_frozen_values_are_part_of_the_structure(checks):
    module, other = frozen_front(), frozen_front()
    with torch.no_grad():
        other[0][0].bias.add_(1)
    choose(module)
    choose(other)
    choose(frozen_front())
    assert checks == ["linear"] * 2


def test_a_loss_and_its_data_are_neither_compared_nor_kept_alive():
    class Task:
        def __eq__(self, other):
            raise AssertionError  # data sets may be large, and numpy's answer is no yes or no

        def loss(self, outputs, targets):
            return cross_entropy(outputs, targets)

    task = Task()
    seen = weakref.ref(task)
    assert choose(linear(), loss=task.loss) is choose(linear(), loss=task.loss)
    del task
    gc.collect()
    assert seen() is None
    choose(linear(), loss=Task().loss)


def test_memory_of_choices_is_bounded(monkeypatch):
    monkeypatch.setattr(engines_module, "_MOST_CHOICES", 3)
    for width in range(2, 9):
        choose(nn.Linear(12, width))
    assert len(engines_module._choices) <= 3


def test_the_choice_of_a_real_round_is_the_recorded_one():
    split = rows()
    first = choose(network(), split.inputs, split.targets)
    assert choose(network(), split.inputs[:0], split.targets[:0]) is first  # a client without rows too


@pytest.mark.parametrize(
    ("case", "parameters", "engine"),
    [
        (CASES[0], 39_700, LinearClipping),
        (CASES[1], 63_882, VmapClipping),
        (CASES[2], 26_010, VmapClipping),
        (CASES[3], 1_663_370, GhostClipping),
    ],
    ids=[case.name for case in CASES],
)
def test_the_engine_is_the_fastest_that_the_benchmark_found(case, parameters, engine):
    module = seeded(case.make)
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    assert choose(module, np.zeros((1, *case.row), np.float32)).engine is engine


def test_the_benchmark_measures_every_engine_and_prints_a_line_for_each_model():
    case = Case("small", lambda: nn.Sequential(network(), nn.Linear(3, 10)), (12,), 8)
    row = measure(case, seconds=0.0)
    assert list(row["seconds_per_1000"]) == ["sgd", "ghost", "vmap", "hooks"]
    assert all(seconds > 0 for seconds in row["seconds_per_1000"].values())
    assert "small" in table([row])
    assert "linear" in measure(Case("head", lambda: nn.Linear(12, 10), (12,), 8), seconds=0.0)["seconds_per_1000"]
