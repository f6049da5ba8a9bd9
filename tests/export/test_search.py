from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from export_kit import ROWS, TARGETS, TorchRuntime, accuracy, classifier, losses
from torch import nn

from fedcomp.errors import ConfigError
from fedcomp.export.candidate import Recipe
from fedcomp.export.search import Ground, Timing, build, make_modules, measure
from fedcomp.runtimes.base import relative_error
from fedcomp.shrink.base import Material, ShrinkError, Step
from fedcomp.tasks import Split

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


@dataclass(frozen=True)
class Forget(Step):
    """Sets the last layer to zero: always answers 0."""

    id = "forget"
    reads = False

    def apply(self, module, material, rng):
        nn.init.zeros_(module[2].weight)
        return module


@dataclass(frozen=True)
class Read(Step):
    id = "read"
    reads = True

    def apply(self, module, material, rng):
        return module


@dataclass(frozen=True)
class Fail(Step):
    id = "fail"
    reads = False

    def apply(self, module, material, rng):
        raise ShrinkError("nothing to cut")


def ground(**changes):
    dense = classifier()
    whole = Ground(
        origins={"dense": dense, "student": nn.Sequential(dense[0], nn.Sigmoid(), dense[2]).eval()},
        material=Material(ROWS[:100], TARGETS[:100], "public", losses, teacher=dense),
        judged=Split(ROWS[100:], TARGETS[100:], ROWS[100:]),
        metric=accuracy,
        private=True,
    )
    return replace(whole, **changes)


RECIPES = [Recipe("dense"), Recipe("forgetful", (Forget(), Read())), Recipe("impossible", (Fail(),))]


def searched(said=lambda _: None, recipes=RECIPES):
    here, rng = ground(), np.random.default_rng(0)
    made = make_modules(here, recipes, rng, said)
    built = list(build(here, made, [TorchRuntime()], ROWS[:10], said))
    baseline = TorchRuntime()
    program = baseline.open(baseline.build(here.origins["dense"], ROWS))
    return built, measure(here, built, program, Timing(batch=2, rounds=7), rng)


def test_every_recipe_is_measured_in_every_format_on_the_same_rows():
    built, found = searched()
    by_name = {each.name: each for each in found}
    assert list(by_name) == [
        "dense torchscript fp32",
        "dense torchscript rounded",
        "forgetful torchscript fp32",
        "forgetful torchscript rounded",
    ]
    dense, forgetful = by_name["dense torchscript fp32"], by_name["forgetful torchscript fp32"]
    assert (dense.accuracy, dense.accuracy_loss, dense.loss_interval) == (1.0, 0.0, (0.0, 0.0))
    zeros = float((TARGETS[100:] == 0).mean())
    assert forgetful.accuracy == pytest.approx(zeros)
    assert forgetful.accuracy_loss == pytest.approx(100 * (1 - zeros))
    assert dense.bytes == len(built[0].content)
    assert dense.output_error < 1e-6
    assert by_name["dense torchscript rounded"].output_error > 0.1
    slow = by_name["dense torchscript rounded"]
    assert slow.latency_ms > 3
    assert slow.speed_up < 0.3  # the dense model's time over this one's, not the other way round
    assert slow.eager_speed_up < 0.3
    assert dense.speed_up > slow.speed_up


def test_what_each_step_and_the_calibration_read_is_on_record():
    built, _ = searched()
    touched = {each.name: [(step["id"], data) for step, data in each.touched] for each in built}
    assert touched["dense torchscript fp32"] == [("fp32", "none")]
    assert touched["forgetful torchscript rounded"] == [("forget", "none"), ("read", "public"), ("rounded", "public")]


def test_a_recipe_goes_on_from_what_another_made_and_is_built_in_its_formats_alone():
    here, rng = ground(), np.random.default_rng(0)
    made = make_modules(here, [Recipe("forgetful", (Forget(),))], rng, print)
    further = Recipe("further", (Read(),), after="forgetful", formats=frozenset({"rounded"}))
    more = make_modules(here, [further], rng, print, made)
    (built,) = build(here, more, [TorchRuntime()], ROWS[:10], print)
    assert built.name == "further torchscript rounded"
    assert [(step["id"], data) for step, data in built.touched] == [
        ("forget", "none"),
        ("read", "public"),
        ("rounded", "public"),
    ]
    assert not built.shrunk.module[2].weight.any()
    assert here.origins["dense"][2].weight.any()
    student = make_modules(here, [Recipe("slim", (Read(),), origin="student")], rng, print)
    onward = make_modules(here, [Recipe("on", (Read(),), after="slim")], rng, print, student)
    assert onward["on"].origin == "student"


def test_formats_that_are_not_wanted_are_not_built():
    made = make_modules(ground(), [Recipe("dense")], np.random.default_rng(0), print)
    found = build(ground(), made, [TorchRuntime()], ROWS[:10], print, formats=["fp32"])
    assert [each.number_format for each in found] == ["fp32"]


def test_what_cannot_be_made_or_built_is_left_out_with_a_word():
    said = []
    searched(said.append, [Recipe("dense"), Recipe("impossible", (Fail(),)), Recipe("slim", origin="student")])
    assert "left out impossible: nothing to cut" in said
    assert "left out slim torchscript fp32: no sigmoid here" in said


def test_private_rows_neither_make_nor_choose_a_model_under_a_private_mode():
    with pytest.raises(ConfigError, match="choosing among candidates: expected public"):
        ground(judged_data="private")
    private = Material(ROWS, TARGETS, "private", losses)
    with pytest.raises(ConfigError, match="read: expected public, synthetic or no rows"):
        make_modules(ground(material=private), [Recipe("x", (Read(),))], np.random.default_rng(0), print)
    allowed = ground(material=private, private=False, judged_data="private")
    assert torch.equal(
        make_modules(allowed, [Recipe("x", (Read(),))], np.random.default_rng(0), print)["x"].shrunk.module[0].weight,
        allowed.origins["dense"][0].weight,
    )


def test_rows_on_disk_may_be_half_precision():
    halves = ROWS[:10].astype(np.float16)
    runtime, module = TorchRuntime(), classifier()
    assert relative_error(module, runtime.open(runtime.build(module, ROWS)), halves) < 1e-6
