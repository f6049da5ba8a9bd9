"""A run is read whole or refused by name; only a line that a kill cut off is forgiven."""

import json

import pytest

from fedcomp.errors import RunError
from fedcomp.report.load import load_run, read_summary


def test_reads_what_was_written(sample, tmp_path):
    run = load_run(sample.write(tmp_path))
    assert run.config == sample.config
    assert [row.round for row in run.rounds] == [1, 2, 3, 4]
    assert run.rounds[0].accuracy is None
    assert run.summary.accuracy.global_ == 0.8783
    assert run.summary.leakage.tpr_at_percent == 0.0123
    assert run.summary.leakage.student.tpr_at_permille == 0.0012
    assert list(run.audit.attacks) == ["global", "student"]
    assert [(stage.stage, stage.bytes) for stage in run.bytes.stages] == [("fp32", 4_060), ("topk", 330), ("rans", 80)]
    assert run.bytes.arrays[0].values == 900
    assert run.bytes.downlink.arrays == ()
    assert (run.target_epsilon, run.sealed, run.torn) == (3.0, True, False)


def test_what_may_be_absent(bare, tmp_path):
    run = load_run(bare.write(tmp_path))
    assert run.audit is None
    assert run.bytes is None
    assert run.summary.leakage is None
    assert run.summary.student is None
    assert run.summary.epsilon.value is None
    assert run.target_epsilon is None


def test_an_audit_of_the_ledger_alone(sample, tmp_path):
    sample.audit = {"ledger": sample.audit["ledger"], "global": None}
    assert load_run(sample.write(tmp_path)).audit.attacks == {}


def test_an_envelope_that_is_switched_off_is_seen(sample, tmp_path):
    sample.config += "[envelope]\nenabled = false\n"
    assert not load_run(sample.write(tmp_path)).sealed


def test_a_run_is_frozen(sample, tmp_path):
    run = load_run(sample.write(tmp_path))
    with pytest.raises(AttributeError):
        run.torn = True
    with pytest.raises(ValueError, match="frozen"):
        run.summary.rounds = 5


@pytest.mark.parametrize("name", ["config.toml", "metrics.jsonl", "summary.json"])
def test_a_missing_file_is_named(sample, tmp_path, name):
    sample.write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(RunError, match=rf"{name}: expected a file of a finished run, got: No such file"):
        load_run(tmp_path)


def test_a_directory_that_is_none(tmp_path):
    with pytest.raises(RunError, match="expected the directory of a run, found nothing"):
        load_run(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="found a file"):
        load_run(tmp_path / "file")


@pytest.mark.parametrize("name", ["metrics.jsonl", "summary.json", "audit.json", "bytes.json", "config.toml"])
@pytest.mark.parametrize("content", [b"{\n", b"\xff\xfe\n", b"[1, 2\n"])
def test_a_damaged_file_is_named(sample, tmp_path, name, content):
    sample.write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name}.*expected .*got"):
        load_run(tmp_path)


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_left_out_and_told(sample, tmp_path, cut):
    path = sample.write(tmp_path) / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[: -1 - cut])
    run = load_run(tmp_path)
    assert run.torn
    assert len(run.rounds) == 3


def test_a_last_line_that_lacks_only_its_newline_counts(sample, tmp_path):
    path = sample.write(tmp_path) / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    run = load_run(tmp_path)
    assert not run.torn
    assert len(run.rounds) == 4


def test_a_torn_line_in_the_middle_is_damage(sample, tmp_path):
    path = sample.write(tmp_path) / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:30] + b"\n" + lines[2])
    with pytest.raises(RunError, match=r"metrics.jsonl line 2: expected JSON"):
        load_run(tmp_path)


def test_a_round_that_stands_twice_is_refused(sample, tmp_path):
    sample.metrics.insert(2, sample.metrics[1])
    with pytest.raises(RunError, match="expected a round after 2, got 2"):
        load_run(sample.write(tmp_path))


def test_every_wrong_key_is_told_with_expected_and_got(sample):
    del sample.summary["mode"]
    sample.summary["rounds"] = "four"
    sample.summary["accuracy"]["global"] = None
    with pytest.raises(RunError) as caught:
        read_summary(sample.summary)
    message = str(caught.value)
    assert "mode: expected a value, got none" in message
    assert "rounds: expected a valid integer, got 'four'" in message
    assert "accuracy.global: expected a valid number, got None" in message


def test_a_summary_that_json_cannot_hold(sample):
    sample.summary["seed"] = object()
    with pytest.raises(RunError, match="expected what JSON can hold"):
        read_summary(sample.summary)


def test_unknown_keys_are_left_alone(sample):
    sample.summary["of_a_later_version"] = {"a": 1}
    assert read_summary(json.loads(json.dumps(sample.summary))).name == "sample"


def test_bytes_of_the_uplink_alone_are_enough(sample, tmp_path):
    del sample.bytes["downlink"]
    assert load_run(sample.write(tmp_path)).bytes.downlink is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stages": None}, "stages: expected a valid .*, got None"),
        ({"stages": []}, r"stages: expected stages that begin with fp32, got \[\]"),
        ({"stages": [{"stage": "rans", "bytes": 80}]}, "stages: expected stages that begin with fp32, got"),
        ({"stages": [{"stage": "fp32", "bytes": 0}]}, r"stages\.0\.bytes: expected greater than or equal to 1, got 0"),
        ({"stages": [{"stage": "fp32", "bytes": 10**400}]}, r"stages\.0\.bytes: expected .*, got 1000"),
        ({"stages": [{"stage": "fp32"}]}, r"stages\.0\.bytes: expected a value, got none"),
        (
            {"arrays": [{"array": "w", "values": 1.5, "bytes": 1}]},
            r"arrays\.0\.values: expected a valid integer, got 1\.5",
        ),
        ({"arrays": [{"array": "w", "values": 1, "bytes": -1}]}, r"arrays\.0\.bytes: expected greater than .*, got -1"),
        ({"arrays": [{"array": "w", "values": 1, "bytes": float("nan")}]}, r"arrays\.0\.bytes: expected .*, got nan"),
        ({"arrays": [{"array": "w", "values": 1, "bytes": float("inf")}]}, r"arrays\.0\.bytes: expected .*, got inf"),
        ({"downlink": {"whole": True}}, r"downlink\.stages: expected a value, got none"),
    ],
)
def test_wrong_bytes_are_told_with_expected_and_got(sample, tmp_path, change, said):
    sample.bytes |= change
    with pytest.raises(RunError, match=rf"bytes\.json: {said}"):
        load_run(sample.write(tmp_path))


def test_bytes_without_their_arrays_are_damage(sample, tmp_path):
    del sample.bytes["arrays"]
    with pytest.raises(RunError, match=r"bytes\.json: arrays: expected a value, got none"):
        load_run(sample.write(tmp_path))
