"""Recovery training over Flower's messages: in every privacy mode, with the teacher nowhere but where it lies."""

import json

import numpy as np
import pytest
from flwr.clientapp import ClientApp
from runs import check, global_model, go, private, start, tiny

from fedcomp.evaluation import evaluate
from fedcomp.flower import client_app
from fedcomp.flower.messages import from_message
from fedcomp.plan import make_plan
from fedcomp.shrink.registry import STEPS
from fedcomp.tasks import ArrayTask
from fedcomp.tasks.digits import digits
from fedcomp.tasks.registry import TASKS
from fedcomp.training import set_arrays
from simulations import reference
from teachers import Halve, Thin, dense_arrays, dense_file

CENTRAL = {
    "mode": "central",
    "noise_multiplier": 2.0,
    "delta": 1e-4,
    "sampling_probability": 0.2,
    "nominal_examples": 100,
}
FP32 = {"uplink": [], "downlink": [], "envelope": {"enabled": False}}


@pytest.fixture(autouse=True)
def steps(monkeypatch):
    monkeypatch.setitem(STEPS, "halve", Halve)
    monkeypatch.setitem(STEPS, "thin", Thin)


def taught(path, mode="central", **more):
    return {"teacher": {"model": dense_file(path, mode=mode), "steps": [{"id": "halve"}], **more}}


def score(plan, arrays):
    module, test = plan.task.model(0), plan.task.test()
    set_arrays(module, arrays)
    return evaluate(module, test.inputs, test.targets, plan.task.loss, plan.task.metric)


def test_a_taught_run_equals_the_plain_loop_bit_for_bit(tmp_path):
    config = tiny(**taught(tmp_path), clients={"population": 3, "widths": [1.0, 0.5]})
    run = start(config, tmp_path / "run")
    go(run)
    expected, got = reference.run(config), global_model(run)
    assert {name: array.shape for name, array in got.items()} == {name: array.shape for name, array in expected.items()}
    assert all(np.array_equal(got[name], array) for name, array in expected.items())


CONFIGS = {
    "none": lambda path: tiny(**taught(path, "none"), **FP32),
    "local": lambda path: private(**taught(path), **FP32),
    "central, clients": lambda path: tiny(
        **taught(path), uplink=[], downlink=[], privacy={**CENTRAL, "unit": "client"}, clients={"population": 3}
    ),
    "central, examples": lambda path: tiny(
        **taught(path),
        uplink=[],
        downlink=[],
        privacy=CENTRAL,
        training={"local_epochs": None, "local_steps": 1},
    ),
}


@pytest.mark.parametrize("mode", CONFIGS)
def test_every_mode_trains_a_student_and_no_message_has_the_teacher(mode, tmp_path):
    messages, inner = [], client_app()

    class Tap(ClientApp):
        def __call__(self, message, context):
            messages.append(from_message(message))
            reply = inner(message, context)
            messages.append(from_message(reply))
            return reply

    config = CONFIGS[mode](tmp_path)
    before = (tmp_path / "dense.safetensors").read_bytes()
    run = start(config, tmp_path / "run")
    rows = go(run, Tap())
    assert [row["survivors"] for row in rows] == [3, 3, 3]
    initial, final = make_plan(config).initial_model(), global_model(run)
    assert {name: array.shape for name, array in final.items()} == {
        name: array.shape for name, array in initial.items()
    }
    assert all(not np.array_equal(final[name], array) for name, array in initial.items())
    # a hidden unit that was cut is in the teacher alone: had it travelled, its bytes would be in some message
    cut = next(row for row in dense_arrays()["0.weight"] if not (initial["0.weight"] == row).all(axis=1).any())
    assert len(messages) == 3 * 2 * 4
    assert not any(cut[20:30].tobytes() in message for message in messages)
    assert max(map(len, messages)) < sum(array.nbytes for array in dense_arrays().values())
    assert (tmp_path / "dense.safetensors").read_bytes() == before
    if mode != "none":
        assert check(run).verified
        assert json.loads((run.path / "summary.json").read_text())["epsilon"]["value"] > 0


THIN = {"steps": [{"id": "thin"}]}


@pytest.mark.parametrize("mode", CONFIGS)
def test_weights_that_a_step_set_to_zero_stay_zero_in_every_mode(mode, tmp_path):
    config = CONFIGS[mode](tmp_path)
    config = config.model_copy(update={"teacher": config.teacher.model_copy(update=THIN)})
    run = start(config, tmp_path / "run")
    assert [row["survivors"] for row in go(run)] == [3, 3, 3]
    plan, final = make_plan(config), global_model(run)
    assert plan.masks.keys() == {"0.weight", "2.weight"}
    for name, mask in plan.masks.items():
        assert 0.15 < mask.mean() < 0.25
        assert np.array_equal(final[name] != 0, mask)
        assert not np.array_equal(final[name], plan.initial_model()[name])


def test_a_thin_run_of_several_widths_equals_the_plain_loop_and_sends_no_zero_that_changed(tmp_path):
    teacher = {"model": dense_file(tmp_path), "steps": [{"id": "halve"}, {"id": "thin", "density": 0.3}]}
    config = tiny(teacher=teacher, clients={"population": 3, "widths": [1.0, 0.5]}, server={"momentum": 0.5})
    run = start(config, tmp_path / "run")
    go(run)
    expected, got, masks = reference.run(config), global_model(run), make_plan(config).masks
    assert all(np.array_equal(got[name], array) for name, array in expected.items())
    assert all(not got[name][~mask].any() for name, mask in masks.items())


def small_digits():
    task = digits()
    rows = [(split.inputs, split.targets) for split in (task.train(), task.test())]
    return ArrayTask("digits", 10, *rows, make_model=task.student_network)


@pytest.mark.slow
def test_a_taught_student_beats_the_same_shape_without_a_teacher_at_equal_rounds(tmp_path, monkeypatch):
    """Of 300 rows, unevenly spread, with equal settings: from scratch with a teacher, and from the teacher's own units.

    How much depends on the learning rate: with the best one for each (of 0.03, 0.1, 0.3 and 1.0), the first is ahead by
    0.4 points over 30 rounds and 4 seeds, which is nothing.
    """
    monkeypatch.setitem(TASKS, "small-digits", lambda _: small_digits())
    path, scores = dense_file(tmp_path), {"plain": [], "taught": [], "pruned": []}
    for seed in range(5):
        changes = {
            "seed": seed,
            "rounds": 12,
            "data": {"max_train_examples": 300, "partition": "dirichlet", "alpha": 1.0},
            "training": {"local_epochs": 1, "batch_size": 32, "learning_rate": 0.1},
        }
        teachers = {
            "taught": {"teacher": {"model": path, "student": "task"}},
            "pruned": {"teacher": {"model": path, "steps": [{"id": "halve"}]}},
        }
        for name in scores:
            config = tiny(
                task="small-digits" if name == "plain" else "digits", **teachers.get(name, {}), **changes, **FP32
            )
            scores[name].append(score(make_plan(config), reference.run(config)).accuracy)
    mean = {name: float(np.mean(found)) for name, found in scores.items()}
    assert mean["plain"] + 0.02 < mean["taught"] < mean["pruned"], scores
