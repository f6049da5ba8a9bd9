"""One suite for every step: what it gives back, what it leaves alone, and what rows it reads."""

import copy
import dataclasses
import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from fedcomp.runtimes.base import relative_error
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.shrink.base import Material, ShrinkError
from fedcomp.shrink.clustering import codebook_sizes
from fedcomp.shrink.registry import STEPS, step_from_config
from fedcomp.shrink.widths import resized, widths_of
from fedcomp.threads import single_thread
from shrink.module_kit import MAKERS, answers, made, material, rows, size

EXAMPLES = {
    "blocks": [("resnet", {}), ("gru", {})],
    "channels": [("resnet", {}), ("mobile", {"scope": "global"}), ("perceptron", {"round_to": 4})],
    "channels-by-layer": [("resnet", {}), ("series", {"ratio": 0.7}), ("mobile", {"round_to": 4})],
    "channels-taylor": [("resnet", {}), ("separable", {"scope": "global"})],
    "cluster": [("resnet", {"bit_width": 3}), ("lstm", {})],
    "depth": [("transformer", {"stack": "encoder"}), ("resnet", {"keep": 2})],
    "distil": [("perceptron", {"epochs": 2}), ("resnet", {"epochs": 1, "feature_weight": 0.5})],
    "heads": [("transformer", {})],
    "heads-by-layer": [("transformer", {"ratio": 0.7})],
    "low-rank": [("perceptron", {}), ("resnet", {}), ("transformer", {"keep": 0.9})],
    "n-of-m": [("resnet", {}), ("transformer", {"n": 1})],
    "quantization-aware": [("perceptron", {"epochs": 2})],
    "recurrent": [("gru", {}), ("lstm", {})],
    "weights": [("series", {}), ("transformer", {"scope": "global"})],
    "weights-taylor": [("resnet", {}), ("gru", {"scope": "global"})],
}
"""For every step, modules of the kit that it makes smaller, and options other than the defaults."""
CASES = [
    pytest.param(kind, {"id": name, **options}, id=f"{name}-{kind}")
    for name, cases in EXAMPLES.items()
    for kind, options in cases
]


@pytest.fixture(autouse=True)
def one_thread():
    with single_thread():
        yield


def taught(kind, **changes) -> Material:
    return dataclasses.replace(material(kind), teacher=made(kind, seed=5), **changes)


def apply(kind, config, given=None, module=None) -> nn.Module:
    step = step_from_config(config)
    given = taught(kind) if given is None else given
    return step.apply(made(kind) if module is None else module, given, np.random.default_rng(0))


def same(first: nn.Module, second: nn.Module) -> bool:
    states = first.state_dict(), second.state_dict()
    return list(states[0]) == list(states[1]) and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


def test_every_step_is_in_the_suite():
    assert sorted(EXAMPLES) == sorted(STEPS)
    assert all(step.id == name for name, step in STEPS.items())


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_a_new_module_in_eval_mode_answers_in_the_same_shape(kind, config):
    module = made(kind).train()
    smaller = apply(kind, config, module=module)
    assert smaller is not module
    assert not any(layer.training for layer in smaller.modules())
    assert not {id(each) for each in module.parameters()} & {id(each) for each in smaller.parameters()}
    found = answers(smaller, rows(kind))
    assert found.shape == answers(module, rows(kind)).shape
    assert np.isfinite(found).all()


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_what_comes_in_is_left_as_it_came(kind, config):
    module, given = made(kind).train(), taught(kind)
    kept, inputs, targets = copy.deepcopy(module), given.inputs.copy(), given.targets.copy()
    teacher = copy.deepcopy(given.teacher)
    apply(kind, config, given, module)
    assert same(module, kept)
    assert all(layer.training for layer in module.modules())
    assert all(each.requires_grad and each.grad is None for each in module.parameters())
    assert widths_of(module) == widths_of(kept)
    assert same(given.teacher, teacher)
    np.testing.assert_array_equal(given.inputs, inputs)
    np.testing.assert_array_equal(given.targets, targets)


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_equal_seeds_give_equal_bits_and_no_global_generator_is_used(kind, config):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    first = apply(kind, config)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert same(first, apply(kind, config))


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_a_step_comes_back_from_its_config_as_json(kind, config):
    step = step_from_config(config)
    assert step_from_config(json.loads(json.dumps(step.config()))) == step
    assert step.config().items() >= config.items()


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_a_step_says_whose_rows_it_reads_and_reads_no_others(kind, config):
    step = step_from_config(config)
    offered = taught(kind, data="private")
    assert step.touches(offered) == ("private" if step.reads else "none")
    if not step.reads:
        others = Material(rows(kind, count=3, seed=9), None, "private", offered.loss)
        assert same(apply(kind, config), apply(kind, config, others))


def nonzeros(module) -> int:
    return sum(int(each.detach().count_nonzero()) for each in module.parameters())


def values(module) -> int:
    return sum(codebook_sizes(module).values())


MEASURES = {
    size: (
        "channels",
        "channels-by-layer",
        "channels-taylor",
        "depth",
        "heads",
        "heads-by-layer",
        "low-rank",
        "recurrent",
    ),
    nonzeros: ("blocks", "n-of-m", "weights", "weights-taylor"),
    values: ("cluster", "quantization-aware"),
}
"""What a step makes smaller; distillation makes nothing so, but follows what does."""


def test_every_step_but_distillation_has_a_measure():
    assert sorted(name for names in MEASURES.values() for name in names) == sorted(set(STEPS) - {"distil"})


@pytest.mark.parametrize(("kind", "config"), [case for case in CASES if not case.id.startswith("distil-")])
def test_the_result_is_smaller_in_the_steps_own_measure(kind, config):
    (measure,) = (measure for measure, names in MEASURES.items() if config["id"] in names)
    assert measure(apply(kind, config)) < measure(made(kind))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "config"), CASES)
def test_the_smaller_model_exports_and_the_file_answers_as_it_does(kind, config):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install fedcomp[edge]")
    smaller, runtime = apply(kind, config), RUNTIMES["onnxruntime"]
    program = runtime.open(runtime.build(smaller, rows(kind, 2)))
    assert relative_error(smaller, program, rows(kind)) < 1e-4


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_the_smaller_model_comes_back_from_the_dense_one_its_widths_and_its_state(kind, config):
    smaller = apply(kind, config)
    again = resized(MAKERS[kind][0](), json.loads(json.dumps(widths_of(smaller)))).eval()
    again.load_state_dict(smaller.state_dict())
    np.testing.assert_array_equal(answers(again, rows(kind)), answers(smaller, rows(kind)))


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "distil"])  # it makes nothing smaller itself
def test_a_module_with_nothing_to_lose_is_refused(name):
    with pytest.raises(ShrinkError, match="got"):
        STEPS[name]().apply(nn.Sequential(nn.ReLU()), taught("perceptron"), np.random.default_rng(0))
