"""The command line as a user meets it: what it prints, its exit codes, and never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedcomp.cli import main
from fedcomp.config import config_from_dict, load_config
from fedcomp.errors import DataError
from fedcomp.plan import make_plan
from fedcomp.run_audit.ledger import check_run_ledger, ledger_findings
from fedcomp.run_files import RunDirectory
from fedcomp.simulation import simulate
from runs_for_cli import PRIVATE, write_config

ROOT = Path(__file__).parent.parent
NOBODY: dict[str, dict[str, int]] = {"trained": {}, "counted": {}}


def call(capsys, monkeypatch, *arguments):
    """Run the command line in this process; return exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["fedcomp", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished private run, made by the installed program."""
    place = tmp_path_factory.mktemp("cli")
    config = write_config(place / "tiny.toml")
    command = [sys.executable, "-m", "fedcomp", "simulate", str(config), "--out", str(place / "run"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return place / "run", json.loads(done.stdout)


def test_a_run_leaves_every_file_and_a_whole_summary(finished):
    run, summary = finished
    names = {path.name for path in run.iterdir()}
    assert names >= {
        *("config.toml", "metrics.jsonl", "ledger.jsonl", "global.safetensors", "student.safetensors"),
        *("student.onnx", "audit.json", "summary.json", "report.html", "bytes.json"),
    }
    assert summary == json.loads((run / "summary.json").read_text())
    assert set(summary["accuracy"]) == {"global", "student"}
    assert set(summary["epsilon"]) >= {"value", "delta", "unit", "mode", "neighboring_relation", "accountant"}
    assert set(summary["leakage"]) >= {"membership_auc", "tpr_at_0.1%_fpr", "epsilon_lower_bound", "confidence"}
    assert set(summary["model"]) >= {"parameters", "bytes", "latency_ms"}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert summary["uplink_bytes"] == sum(row["uplink_bytes"] for row in rows)
    assert summary["downlink_bytes"] == sum(row["downlink_bytes"] for row in rows)
    assert all(claim["holds"] for claim in summary["claims"])
    parts = ("setup", "training", "student", "audit")
    assert summary["seconds"]["total"] == pytest.approx(sum(summary["seconds"][part] for part in parts), abs=0.1)


def test_bytes_are_told_for_both_ways_stage_by_stage_and_add_up_by_array(finished):
    told = json.loads((finished[0] / "bytes.json").read_text())
    chains = {"up": told, "down": told["downlink"]}
    assert not told["downlink"]["whole"]
    for way, stages in {"up": ["fp32", "topk", "dither", "rans"], "down": ["fp32", "dither", "rans"]}.items():
        assert [row["stage"] for row in chains[way]["stages"]] == stages
        assert chains[way]["stages"][-1]["bytes"] < chains[way]["stages"][0]["bytes"] / 4
        total = sum(row["bytes"] for row in chains[way]["arrays"])
        assert total == pytest.approx(chains[way]["stages"][-1]["bytes"], abs=1)


def test_the_report_is_one_file_without_outside_links(finished):
    page = (finished[0] / "report.html").read_text()
    assert page.count("<svg") >= 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<script" not in page


def test_an_audit_holds_and_fails_when_the_ledger_was_touched(finished, capsys, monkeypatch, tmp_path):
    run, _ = finished
    code, out, _ = call(capsys, monkeypatch, "audit", run, "--quick")
    assert code == 0, out
    assert "claims hold" in out.splitlines()[-1]
    told = json.loads((run / "statement.json").read_text())
    assert told["sampling"]["code"].startswith("audited")
    ledger = run / "ledger.jsonl"
    code, out, _ = call(capsys, monkeypatch, "audit", ledger, "--delta", "1e-4")
    assert code == 0
    assert "epsilon = " in out
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b'"server_round":2', b'"server_round":9', 1))
    try:
        code, out, _ = call(capsys, monkeypatch, "audit", ledger, "--json")
        again = check_run_ledger(make_plan(RunDirectory.open(run).config()), RunDirectory.open(run), NOBODY, {})
    finally:
        ledger.write_bytes(whole)
    assert code == 1
    (claim,) = json.loads(out)["claims"]
    assert "ledger entry" in claim["measured"]
    assert claim["measured"] in again.problems


def test_an_audit_notices_a_ledger_whose_end_was_cut_off(finished):
    run = RunDirectory.open(finished[0])
    plan, checkpoint = make_plan(run.config()), run.load_checkpoint()
    whole = run.ledger_path.read_bytes()
    run.ledger_path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))  # its chain is whole
    try:
        report = check_run_ledger(plan, run, checkpoint.totals, checkpoint.server_model.model)
    finally:
        run.ledger_path.write_bytes(whole)
    assert any("without a commit" in problem for problem in report.problems)


def test_a_device_keeps_its_own_ledger_and_a_server_that_has_none_says_so(finished):
    run = RunDirectory.open(finished[0])
    plan, checkpoint = make_plan(run.config()), run.load_checkpoint()
    away = run.ledger_path.rename(run.path / "elsewhere")
    try:
        report = check_run_ledger(plan, run, checkpoint.totals, checkpoint.server_model.model)
    finally:
        away.rename(run.ledger_path)
    (finding,) = ledger_findings(plan, report, plan.spent_after(1))
    assert finding.verdict == "not covered"


def test_report_prints_one_run_or_two(finished, capsys, monkeypatch):
    run, _ = finished
    printed = call(capsys, monkeypatch, "report", run)[1]
    assert "Epsilon" in printed
    assert all(stage in printed for stage in ("topk", "dither", "rans")), "bytes after each stage"
    code, out, _ = call(capsys, monkeypatch, "report", run, "--against", run, "--markdown")
    assert code == 0
    assert out.startswith("|")


def test_export_writes_the_small_model(finished, capsys, monkeypatch, tmp_path):
    code, _, _ = call(capsys, monkeypatch, "export", finished[0], "--to", "onnx", "--out", tmp_path / "small.onnx")
    assert code == 0
    assert (tmp_path / "small.onnx").stat().st_size > 1000
    assert call(capsys, monkeypatch, "export", finished[0], "--to", "tflite")[0] == 2


def test_resume_of_a_finished_run_changes_nothing(finished, capsys, monkeypatch):
    run, summary = finished
    before = (run / "ledger.jsonl").read_bytes()
    code, out, _ = call(capsys, monkeypatch, "resume", run, "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == summary["accuracy"]
    assert (run / "ledger.jsonl").read_bytes() == before


def test_plan_says_what_it_will_cost(capsys, monkeypatch, tmp_path):
    config = write_config(tmp_path / "tiny.toml")
    code, out, _ = call(capsys, monkeypatch, "plan", config, "--set", "rounds=2", "--json")
    assert code == 0
    assert len(json.loads(out)["epsilon_by_round"]) == 2
    assert "epsilon" in call(capsys, monkeypatch, "plan", config)[1]


def test_codecs_lists_every_stage(capsys, monkeypatch):
    listed = json.loads(call(capsys, monkeypatch, "codecs", "--json")[1])["codecs"]
    assert {"topk", "uniform", "rans", "dither"} <= {stage["id"] for stage in listed}
    (sketch,) = (stage for stage in listed if stage["id"] == "sketch")
    assert sketch["options"]["estimate"] == "one of median, mean (default median)"
    assert (sketch["biased"], sketch["data_dependent"], sketch["bound"]) == (False, False, "none")
    assert sketch["modes"] == ["none", "local", "central", "distributed"]
    table = call(capsys, monkeypatch, "codecs")[1]
    assert all(stage["id"] in table for stage in listed)
    assert "density" in table
    assert "error bound: half a step" in table


def test_keys_are_made_once_and_shown(capsys, monkeypatch, tmp_path):
    code, out, _ = call(capsys, monkeypatch, "keys", "new", tmp_path / "server.key")
    assert code == 0
    shown = call(capsys, monkeypatch, "keys", "show", tmp_path / "server.key")[1]
    assert "fedcomp-x25519:" in shown
    assert shown.splitlines()[0] in out
    assert call(capsys, monkeypatch, "keys", "new", tmp_path / "server.key")[0] == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, ["rounds: expected greater than 0, got 0"]),
        ({"clients": {"population": 0}}, ["clients.population: expected greater than 0, got 0"]),
        ({"colour": "blue", "rounds": "three"}, ["colour: unknown key, got 'blue'", "rounds: expected", "got 'three'"]),
        ({"uplink": [{"id": "topk", "density": 2.0}]}, ["uplink[0].density", "(0, 1]", "got 2.0"]),
        ({"privacy": {**PRIVATE["privacy"], "nominal_examples": 5000, "delta": 1e-5}}, ["fewer than a batch"]),
    ],
)
def test_a_wrong_config_is_told_whole_with_exit_2(changes, words, capsys, monkeypatch, tmp_path):
    config = write_config(tmp_path / "tiny.toml", **changes)
    code, _, err = call(capsys, monkeypatch, "simulate", config, "--out", tmp_path / "run")
    assert code == 2
    assert all(word in err for word in words), err
    assert not (tmp_path / "run").exists()


def test_other_mistakes_have_their_codes(finished, capsys, monkeypatch, tmp_path):
    config = write_config(tmp_path / "tiny.toml")
    assert call(capsys, monkeypatch, "simulate", tmp_path / "none.toml")[0] == 2
    assert call(capsys, monkeypatch, "simulate", config, "--set", "rounds")[0] == 2
    code, _, err = call(capsys, monkeypatch, "simulate", config, "--out", finished[0])
    assert code == 4
    assert "exists" in err
    assert call(capsys, monkeypatch, "resume", tmp_path)[0] == 4
    assert call(capsys, monkeypatch, "audit", tmp_path)[0] == 4


def test_missing_data_names_the_command_that_installs_it(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("FEDCOMP_DATA", str(tmp_path))
    monkeypatch.setattr("fedcomp.tasks.fetch._places", lambda data: [tmp_path])
    config = write_config(tmp_path / "tiny.toml", task="fashion-mnist-cnn")
    code, _, err = call(capsys, monkeypatch, "simulate", config, "--out", tmp_path / "run")
    assert code == 3
    assert "apt-get install dataset-fashion-mnist" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_sentence(capsys, monkeypatch, tmp_path):
    config = write_config(tmp_path / "tiny.toml")
    real = os.fsync

    def full(descriptor):
        if "metrics.jsonl" in str(Path(f"/proc/self/fd/{descriptor}").resolve()):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call(capsys, monkeypatch, "simulate", config, "--out", tmp_path / "run")
    assert code == 4
    assert "No space left on device" in err


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.stem)
def test_every_config_in_the_folder_can_be_planned(path):
    try:
        plan = make_plan(load_config(path))
    except DataError as missing:
        pytest.skip(str(missing))
    assert plan.config.name == path.stem
    open_ones = {
        "baseline",
        "cross-device",
        "digits-fusion",
        "fashion-mobilenet",
        "speech-initials",
        "translation-short",
    }
    assert plan.private == (path.stem not in open_ones and not path.with_stem(f"{path.stem}-private").exists())


def test_a_private_run_can_be_replaced_by_another_in_one_process(tmp_path):
    tree = {**PRIVATE, "rounds": 1, "evaluate_every": 1, "student": {"enabled": False}, "audit": {"enabled": False}}
    first, second = (simulate(config_from_dict(tree), out=tmp_path / "run", overwrite=True) for _ in range(2))
    assert first.summary["rounds"] == second.summary["rounds"] == 1
    assert second.summary["refused"] == 0
