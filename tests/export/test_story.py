import json

import numpy as np
import pytest
import torch

from fedcomp.config import config_from_dict
from fedcomp.crypto import SigningKey
from fedcomp.errors import ConfigError, RunError
from fedcomp.export.ground import judged_rows
from fedcomp.export.manifest import read_manifest
from fedcomp.export.quick_look import quick_look
from fedcomp.export.search import Timing
from fedcomp.export.story import Wish, export_run
from fedcomp.export.target import Target
from fedcomp.plan import make_plan
from fedcomp.report import write_report
from fedcomp.simulation import simulate
from fedcomp.tasks import load_task

pytest.importorskip("onnxruntime", reason="pip install 'fedcomp[edge]'")


def config(**changes):
    tree = {
        "name": "small",
        "task": "digits",
        "rounds": 2,
        "data": {"public_examples": 400},
        "clients": {"population": 2},
        "training": {"local_epochs": 3, "learning_rate": 0.2},
        "student": {"epochs": 1},
        "audit": {"enabled": False},
    }
    return config_from_dict(tree | changes)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "small"
    simulate(config(), out=path)
    return path


@pytest.fixture(scope="module")
def exported(run):
    wish = Wish(Target(accuracy_loss=30.0), ratios=(0.5,), steps=80, timing=Timing(rounds=7))
    return export_run(run, wish)


def test_the_chosen_model_keeps_the_target_and_is_the_fastest_that_does(exported):
    chosen = exported.choice.chosen
    passing = [each for each in exported.candidates if each.accuracy_loss <= 30.0]
    assert chosen.latency_ms == min(each.latency_ms for each in passing)
    first = {"dense", "channels 50%", "student"}
    tried = {each.recipe for each in exported.candidates}
    assert tried > first
    # the cut keeps 30 points, so what is tried next is a larger one, by layer; int8 may have asked for more
    assert {name for name in tried - first if "rounded" not in name} == {"channels 75% by layer"}
    latencies = [each.latency_ms for each in exported.candidates]
    assert len(set(latencies)) == len(latencies)  # each of them was timed


def test_the_manifest_says_what_was_read_and_fits_the_file(run, exported):
    manifest = read_manifest(exported.folder / "manifest.json", exported.model.read_bytes())
    content = manifest.content
    assert content["run"] == {"name": "small", "config_digest": config().digest(), "seed": 0}
    assert {step["data"] for step in content["steps"]} <= {"none", "public"}
    assert content["privacy"]["before"] == "no privacy is claimed (mode none)"
    assert content["measured"]["rows"] == judged_rows(400)
    assert content["measured"]["candidates"] == len(exported.candidates)
    low, high = content["measured"]["interval_as_chosen"]
    assert low <= exported.choice.chosen.loss_interval[0] <= exported.choice.chosen.loss_interval[1] <= high
    assert content["measured"]["accuracy_is"] == "the task's metric, on rows with labels"
    assert (exported.folder / "card.md").read_text().startswith("# small: the small model")
    assert manifest.signer == SigningKey.load(run / "ledger.key").public.hex()


def test_the_small_model_can_teach_others(exported):
    tree = {
        "task": "digits",
        "teacher": {"model": str(exported.folder / "model.safetensors"), "student": "task"},
        "student": {"enabled": False},
    }
    teacher = make_plan(config_from_dict(tree)).task
    rows = torch.from_numpy(load_task("digits").test().raw[:20])
    with torch.no_grad():
        both = teacher.network().train()(rows)
        expected = exported.small.shrunk.module(rows)
    torch.testing.assert_close(both[:, 10:], expected)


def test_the_curve_is_in_the_report(run, exported):
    curve = json.loads((run / "curve.json").read_text())
    assert curve["chosen"] == exported.choice.chosen.name
    assert sum(each["best"] for each in curve["candidates"]) >= 1
    assert "The small model" in write_report(run).read_text()


def test_a_quick_look_answers_as_the_candidate_did_and_refuses_what_does_not_fit(exported, tmp_path):
    test = load_task("digits").test()
    np.save(tmp_path / "rows.npy", test.raw[:200])
    answer = quick_look(exported.model, tmp_path / "rows.npy")
    right = float((answer.outputs.argmax(axis=1) == test.targets[:200]).mean())
    assert right > exported.choice.chosen.accuracy - 0.15
    np.save(tmp_path / "one.npy", test.raw[0])
    assert quick_look(exported.model, tmp_path / "one.npy").outputs.shape == (1, 10)
    np.save(tmp_path / "wide.npy", np.zeros((2, 65), np.float32))
    with pytest.raises(RunError, match=r"wide.npy: expected rows \['n', 64\], got \[2, 65\]"):
        quick_look(exported.model, tmp_path / "wide.npy")
    (tmp_path / "not.npy").write_text("rows")
    with pytest.raises(RunError, match=r"not.npy: expected an array"):
        quick_look(exported.model, tmp_path / "not.npy")


def test_a_model_that_was_changed_is_refused_before_it_runs(exported, tmp_path):
    for name in ("manifest.json", exported.model.name):
        (tmp_path / name).write_bytes((exported.folder / name).read_bytes())
    model = tmp_path / exported.model.name
    model.write_bytes(model.read_bytes() + b" ")
    np.save(tmp_path / "rows.npy", np.zeros((1, 64), np.float32))
    with pytest.raises(RunError, match="expected a model with SHA-256"):
        quick_look(model, tmp_path / "rows.npy")


@pytest.mark.slow
def test_a_target_that_nothing_keeps_leaves_the_curve_and_no_model(run, tmp_path):
    wish = Wish(Target(latency_ms=1e-9), ratios=(), steps=10, timing=Timing(rounds=7))
    with pytest.raises(ConfigError, match=r"none of .* candidates keeps latency at most"):
        export_run(run, wish, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert json.loads((run / "curve.json").read_text())["chosen"] is None


@pytest.mark.slow
def test_a_run_without_public_rows_is_refused_unless_its_rows_may_be_read(tmp_path):
    path = tmp_path / "closed"
    simulate(config(data={"public_examples": 0}, student={"enabled": False}), out=path)
    wish = Wish(Target(accuracy_loss=50.0), ratios=(), steps=10, timing=Timing(rounds=7))
    with pytest.raises(ConfigError, match=r"expected at least 40 public rows .*--private-rows"):
        export_run(path, wish)
    found = export_run(path, Wish(wish.target, ratios=(), steps=10, timing=Timing(rounds=7), private_rows=True))
    assert read_manifest(found.folder / "manifest.json").content["measured"]["data"] == "private"


@pytest.mark.slow
def test_made_up_rows_make_a_model_whose_accuracy_nobody_claims_to_know(tmp_path):
    path = tmp_path / "closed"
    simulate(config(data={"public_examples": 0}, student={"enabled": False}), out=path)
    wish = Wish(Target(accuracy_loss=20.0), ratios=(0.5,), steps=200, timing=Timing(rounds=7), made_up_rows=True)
    found = export_run(path, wish)
    content = read_manifest(found.folder / "manifest.json").content
    assert content["measured"]["data"] == "synthetic"
    assert "not accuracy" in content["measured"]["accuracy_is"]
    assert "disagreement on made-up rows" in content["why"]
    assert {step["data"] for step in content["steps"]} <= {"none", "synthetic"}
    assert "Not known." in (found.folder / "card.md").read_text()
    test = load_task("digits").test()
    with torch.no_grad():
        right = (found.small.shrunk.module(torch.from_numpy(test.raw)).argmax(1).numpy() == test.targets).mean()
    assert right > 0.5
    with pytest.raises(ConfigError, match="--made-up-rows: expected it without --private-rows"):
        export_run(path, Wish(wish.target, private_rows=True, made_up_rows=True))


@pytest.mark.slow
def test_without_the_finer_search_only_what_comes_first_is_tried(run, tmp_path):
    wish = Wish(Target(accuracy_loss=90.0), ratios=(0.5,), steps=5, timing=Timing(rounds=7), finer=False)
    found = export_run(run, wish, tmp_path / "out")
    assert {each.recipe for each in found.candidates} == {"dense", "channels 50%", "student"}


def test_an_unknown_runtime_is_refused_by_name(run):
    with pytest.raises(ConfigError, match=r"--to: expected any or one of .*onnxruntime.*got 'tflite'"):
        export_run(run, Wish(Target(), runtime="tflite"))
