"""Recovery training in a plan: which student it has, that all machines have the same, and what is refused."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from fedcomp.arrays import digest
from fedcomp.config import config_from_dict
from fedcomp.errors import ConfigError
from fedcomp.plan import make_plan, plan_from_json
from fedcomp.plan.teacher import about_model
from fedcomp.shrink import save_arrays
from fedcomp.shrink.registry import STEPS
from fedcomp.tasks.digits import digits
from fedcomp.training import get_arrays
from teachers import Halve, Peek, dense_arrays, dense_file

LOCAL = {
    "mode": "local",
    "target_epsilon": 8.0,
    "delta": 1e-4,
    "sampling_probability": 0.2,
    "nominal_examples": 100,
}


@pytest.fixture(autouse=True)
def steps(monkeypatch, tmp_path):
    monkeypatch.setitem(STEPS, "halve", Halve)
    monkeypatch.setitem(STEPS, "peek", Peek)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def config(path, teacher, **changes):
    tree = {"task": "digits", "rounds": 2, "student": {"enabled": False}, "clients": {"population": 4}}
    return config_from_dict({**tree, **changes, "teacher": {"model": path, **teacher}})


def problems(path, teacher, **changes):
    with pytest.raises(ConfigError) as caught:
        make_plan(config(path, teacher, **changes))
    return caught.value.problems


HALF = {"steps": [{"id": "halve"}]}


def test_the_student_is_what_the_steps_leave_of_the_teacher(tmp_path):
    plan = make_plan(config(dense_file(tmp_path), HALF))
    model, dense = plan.initial_model(), dense_arrays()
    assert [array.shape for array in model.values()] == [(16, 64), (16,), (10, 16), (10,)]
    kept = [next(i for i, row in enumerate(dense["0.weight"]) if np.array_equal(row, one)) for one in model["0.weight"]]
    assert np.array_equal(model["2.weight"], dense["2.weight"][:, kept])
    assert plan.task.num_classes == 10
    assert plan.subject("client-0") == make_plan(
        config_from_dict({"task": "digits", "student": {"enabled": False}})
    ).subject("client-0")


def test_the_seed_of_the_weights_does_not_matter_to_a_pruned_student_but_to_the_tasks_own(tmp_path):
    path = dense_file(tmp_path)
    pruned = [digest(make_plan(config(path, HALF, seed=seed)).initial_model()) for seed in (0, 1)]
    fresh = [digest(make_plan(config(path, {"student": "task"}, seed=seed)).initial_model()) for seed in (0, 1)]
    assert pruned[0] == pruned[1]
    assert fresh[0] != fresh[1]


def test_another_machine_makes_the_same_student_of_the_same_file(tmp_path):
    """From the server's config alone, with the file in the cache by its digest."""
    path = dense_file(tmp_path)
    plan = make_plan(config(path, HALF))
    assert plan.config.teacher.sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    (tmp_path / "cache" / "fedcomp" / "models").mkdir(parents=True)
    shutil.move(path, tmp_path / "cache" / "fedcomp" / "models" / f"{plan.config.teacher.sha256}.safetensors")
    there = make_plan(config_from_dict(json.loads(plan.config.to_json())))
    assert there.digest() == plan.digest()
    assert there.initial_digest == plan.initial_digest


def test_a_client_without_the_file_or_with_another_one_is_told_so(tmp_path):
    path = dense_file(tmp_path)
    resolved = make_plan(config(path, HALF)).config.to_json()
    dense_file(tmp_path, note="another one")
    with pytest.raises(ConfigError, match=r"teacher\.model: expected a file of SHA-256"):
        plan_from_json(resolved)
    Path(path).unlink()
    with pytest.raises(
        ConfigError, match=r"teacher\.model: expected the model's file at .*dense\.safetensors or .*cache"
    ):
        plan_from_json(resolved)


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if not step.reads])
def test_every_step_that_reads_nothing_leaves_the_same_student_twice_or_says_why_none(name, tmp_path):
    """Digits have no heads, and no hidden state, for steps that cut those."""
    path = dense_file(tmp_path)

    def found():
        try:
            return make_plan(config(path, {"steps": [{"id": name}]})).initial_digest, ()
        except ConfigError as error:
            return "", error.problems

    assert found() == found()
    assert all(problem.startswith("teacher.steps") for problem in found()[1])


def test_the_teacher_is_in_the_plans_digest(tmp_path):
    path = dense_file(tmp_path)
    first = make_plan(config(path, HALF)).digest()
    dense_file(tmp_path, note="another one")
    assert make_plan(config(path, HALF)).digest() != first


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ({"steps": [{"id": "halve"}, {"id": "peek"}]}, "teacher.steps[1]: expected a step that reads no rows"),
        ({"steps": [{"id": "unheard of"}]}, "teacher.steps[0]: id: expected one of"),
        ({"steps": [{"id": "halve", "width": 2}]}, "teacher.steps[0]: halve.width: expected one of the options share"),
        ({"steps": []}, "teacher.steps: expected at least one step"),
        ({"student": "task", **HALF}, "teacher.steps: expected none with student = 'task', got 1"),
    ],
)
def test_what_does_not_fit_is_named(teacher, said, tmp_path):
    assert problems(dense_file(tmp_path), teacher)[0].startswith(said)


def test_a_file_that_is_no_model_of_the_task_is_refused(tmp_path):
    path = tmp_path / "dense.safetensors"
    path.write_bytes(b"nothing")
    assert "not a model file" in problems(str(path), HALF)[0]
    save_arrays(path, {"0.weight": np.zeros((2, 2), np.float32)}, {})
    assert problems(str(path), HALF)[0].startswith("teacher.model: expected arrays named ['0.weight', '0.bias'")
    for widths in ("{", "[1]", '{"0": {"type": "Linear", "in_features": 10000000, "out_features": 1}}'):
        save_arrays(path, dense_arrays(), {"widths": widths})
        assert problems(str(path), HALF)[0].startswith("teacher.model: widths")


def test_under_a_private_mode_the_teacher_must_have_a_claim_too(tmp_path):
    for about in ({}, {"mode": "none"}):
        path = dense_file(tmp_path, **about)
        assert "because a student gives away what its teacher does" in problems(path, HALF, privacy=LOCAL)[0]
        assert make_plan(config(path, HALF)).private is False
        assert make_plan(config(path, {**HALF, "source": "public"}, privacy=LOCAL)).private
    assert make_plan(config(dense_file(tmp_path, mode="central"), HALF, privacy=LOCAL)).private


def test_a_model_file_says_how_to_rebuild_the_model(tmp_path):
    """Two runs, one after another: the student of the first is the teacher of the second."""
    first = make_plan(config(dense_file(tmp_path), HALF))
    module = first.task.model(0)
    about = about_model(first.config, module)
    assert about["mode"] == "none"
    assert json.loads(about["widths"])["0"]["out_features"] == 16
    (tmp_path / "second").mkdir()
    path = tmp_path / "second" / "dense.safetensors"
    save_arrays(path, get_arrays(module), about)
    second = make_plan(config(str(path), {"steps": [{"id": "halve", "share": 0.25}]}))
    assert [array.shape for array in second.initial_model().values()] == [(4, 64), (4,), (10, 4), (10,)]
    rows = torch.from_numpy(digits().test().inputs[:5])
    assert torch.equal(second.task.model(0).train()(rows)[:, 10:], module.eval()(rows))


def test_without_a_teacher_a_model_file_says_what_it_is():
    plan = make_plan(config_from_dict({"task": "digits", "student": {"enabled": False}}))
    assert about_model(plan.config, plan.task.model(0)) == {"task": "digits", "role": "global", "mode": "none"}


def test_a_student_and_widths_of_clients_go_together(tmp_path):
    clients = {"population": 4, "widths": [1.0, 0.5]}
    plan = make_plan(config(dense_file(tmp_path), HALF, clients=clients))
    module = plan.client_module(1)
    assert [array.shape for array in get_arrays(module).values()] == [(8, 64), (8,), (10, 8), (10,)]
    assert module.train()(torch.zeros(3, 64)).shape == (3, 20)
    assert module.eval()(torch.zeros(3, 64)).shape == (3, 10)
