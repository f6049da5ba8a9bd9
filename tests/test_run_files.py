"""The files of a run: a kill, a full disk or a flipped bit never passes for a run that is well."""

import json
import tomllib
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from fedcomp.aggregation import ServerModel
from fedcomp.arrays import Arrays, digest
from fedcomp.config import Config, config_from_dict, load_config
from fedcomp.errors import ConfigError, RunError
from fedcomp.run_files import TURNS, Checkpoint, RunDirectory
from hardships import disk_full_at, killed_while

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.toml"))


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", Config())


def checkpoint(number: int, size: int = 4) -> Checkpoint:
    model = {
        "z.weight": np.full((2, size), number, np.float32).T,
        "scalar": np.array(number / 3, np.float64),
        "empty": np.zeros((0, 3), np.float16),
        "a.bias": np.arange(size, dtype=np.float32)[::-1],
    }
    moved = {name: np.asarray(array + 1) for name, array in model.items()}
    server = ServerModel(number, model, moved, {n: np.asarray(a * 2) for n, a in model.items()}, (b"", bytes([number])))
    return Checkpoint(number, server, {"uplink_bytes": number * 2**40, "seconds": 0.1})


def same(left: Checkpoint, right: Checkpoint) -> bool:
    parts = [field.name for field in fields(ServerModel) if field.name not in ("version", "deltas")]
    return (left.round, left.totals, left.server_model.version, left.server_model.deltas) == (
        right.round,
        right.totals,
        right.server_model.version,
        right.server_model.deltas,
    ) and [digest(getattr(left.server_model, part)) for part in parts] == [
        digest(getattr(right.server_model, part)) for part in parts
    ]


# checkpoints


def test_before_the_first_round_there_is_no_checkpoint(run):
    assert run.load_checkpoint() is None


def test_a_checkpoint_comes_back_whole_and_the_last_one_counts(run):
    for number in (1, 2):
        run.save_checkpoint(checkpoint(number))
        found = run.load_checkpoint()
        assert same(found, checkpoint(number))
        assert list(found.server_model.model) == ["z.weight", "scalar", "empty", "a.bias"], "in the model's order"
        assert found.server_model.model["scalar"].shape == ()
    assert sorted(item.name for item in run.path.iterdir()) == ["checkpoint.safetensors", "config.toml"]


@st.composite
def models(draw: st.DrawFn) -> Arrays:
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=4, unique=True))
    dtypes = st.sampled_from([np.float16, np.float32, np.float64, np.int64, np.bool_])
    return {
        n: draw(hnp.arrays(draw(dtypes), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)))
        for n in names
    }


@settings(max_examples=30, deadline=None)
@given(model=models(), deltas=st.lists(st.binary(max_size=9), max_size=4), transposed=st.booleans())
def test_any_model_and_deltas_come_back(tmp_path_factory, model, deltas, transposed):
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    model = {name: array.T if transposed else array for name, array in model.items()}
    saved = Checkpoint(3, ServerModel(9, model, model, model, tuple(deltas)), {"x": 1})
    run.save_checkpoint(saved)
    assert same(run.load_checkpoint(), saved)


def test_the_format_alone_writes_a_transposed_array_wrong():
    """The control, and why arrays are put in order first: it writes memory as it lies, with the shape of the view."""
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    back = load_safetensors(save_safetensors({"a": array}))["a"]
    if np.array_equal(back, array):
        pytest.skip("this version of safetensors puts arrays in order itself")
    assert np.array_equal(load_safetensors(save_safetensors({"a": np.asarray(array, order="C")}))["a"], array)


def test_any_damage_to_a_checkpoint_is_refused(run):
    run.save_checkpoint(checkpoint(3))
    path = run.path / "checkpoint.safetensors"
    content = path.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    places = {*range(0, len(content), 7), *range(header, len(content)), *range(8)}
    hurt = [content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in sorted(places)]
    hurt += [content[:length] for length in range(0, len(content), 11)] + [content + b"\0", b"[]", b"x" * 500]
    hurt += [
        (len(body)).to_bytes(8, "little") + body for body in (b"[]", b"3", b"null", b'{"__metadata__": []}', b"{}")
    ]
    for damaged in hurt:
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"checkpoint .* is damaged"):
            run.load_checkpoint()
    path.write_bytes(content)
    assert same(run.load_checkpoint(), checkpoint(3))


def test_the_format_alone_does_not_notice_a_flipped_weight(run):
    """The control: why a checkpoint carries a digest of its own."""
    run.save_checkpoint(checkpoint(3))
    content = bytearray((run.path / "checkpoint.safetensors").read_bytes())
    before = load_safetensors(bytes(content))
    content[-1] ^= 1
    after = load_safetensors(bytes(content))
    assert digest({name: before[name] for name in sorted(before)}) != digest(
        {name: after[name] for name in sorted(after)}
    )


def test_a_checkpoint_that_cannot_be_read_is_reported(run):
    (run.path / "checkpoint.safetensors").mkdir()
    with pytest.raises(RunError, match=r"cannot read checkpoint .*: Is a directory"):
        run.load_checkpoint()


def test_a_kill_leaves_the_old_checkpoint_or_the_new_one(run):
    for attempt in range(6):
        last = killed_while(lambda number: run.save_checkpoint(checkpoint(number % 200, size=50_000)), 0.01 * attempt)
        found = run.load_checkpoint()
        assert same(found, checkpoint(found.round, size=50_000))
        assert found.round in (last % 200, (last + 1) % 200)


def test_a_full_disk_is_reported_and_the_old_files_are_there(run):
    run.save_checkpoint(checkpoint(1))
    run.append_metrics({"round": 1})
    run.write_json("summary.json", {"a": 1})
    with disk_full_at(8192):
        with pytest.raises(RunError, match=r"cannot write .*checkpoint.safetensors: File too large"):
            run.save_checkpoint(checkpoint(2, size=50_000))
        with pytest.raises(RunError, match=r"cannot write .*summary.json"):
            run.write_json("summary.json", {"a": "x" * 10_000})
        with pytest.raises(RunError, match=r"cannot append to .*metrics.jsonl: wrote .* disk full"):
            run.append_metrics({"round": 2, "refused": "x" * 10_000})
    assert same(run.load_checkpoint(), checkpoint(1))
    assert run.metrics() == [{"round": 1}]
    assert json.loads((run.path / "summary.json").read_text()) == {"a": 1}
    assert len(list(run.path.iterdir())) == 4, "no half of a file is left"


# metrics


def test_rows_come_back_in_order(run):
    assert run.metrics() == []
    for number in (1, 2, 3):
        run.append_metrics({"round": number, "accuracy": number / 3, "loss": None, "name": "ö\u2028\n"})
    assert [row["round"] for row in run.metrics()] == [1, 2, 3]
    assert run.metrics()[0] == {"round": 1, "accuracy": 1 / 3, "loss": None, "name": "ö\u2028\n"}


def test_rows_beyond_the_checkpoint_and_a_torn_one_are_dropped(run):
    for number in (1, 2, 3):
        run.append_metrics({"round": number})
    path = run.path / "metrics.jsonl"
    with path.open("ab") as file:
        file.write(b'{"round": 4, "accu')
    assert [row["round"] for row in run.metrics()] == [1, 2, 3]
    run.drop_metrics_after(2)
    assert path.read_bytes() == b'{"round": 1}\n{"round": 2}\n'
    run.append_metrics({"round": 3})
    assert [row["round"] for row in run.metrics()] == [1, 2, 3]
    run.drop_metrics_after(0)
    assert path.read_bytes() == b""
    assert run.metrics() == []


def test_wherever_a_kill_cuts_the_last_row_the_others_stay(run):
    path = run.path / "metrics.jsonl"
    whole = b'{"round": 1, "name": "\\u00f6"}\n{"round": 2, "refused": [{"client": "a"}]}\n'
    first = whole.index(b"\n") + 1
    for end in range(first, len(whole) + 1):
        path.write_bytes(whole[:end])
        run.drop_metrics_after(9)
        kept = [row["round"] for row in run.metrics()]
        assert kept == ([1, 2] if end >= len(whole) - 1 else [1])
        assert path.read_bytes().endswith(b"\n")


def test_dropping_where_there_is_nothing_makes_nothing(run):
    run.drop_metrics_after(0)
    assert not (run.path / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    "content",
    [
        b'{"round": 1}\n{"rou\n{"round": 3}\n',
        b'{"round": 1}\n\0\0\0\n{"round": 3}\n',
        b"[1]\n",
        b'{"epoch": 1}\n',
        b"\n{}\n",
    ],
)
def test_damage_that_no_kill_makes_is_refused_not_cut_off(run, content):
    (run.path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(RunError, match=r"metrics.jsonl: line \d is damaged"):
        run.drop_metrics_after(9)
    assert (run.path / "metrics.jsonl").read_bytes() == content


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused_by_name(run, value):
    with pytest.raises(RunError, match=r"metrics.jsonl: expected finite numbers, got others at \['loss'\]"):
        run.append_metrics({"round": 1, "loss": value})
    with pytest.raises(RunError, match=r"summary.json: expected finite numbers"):
        run.write_json("summary.json", {"model": {"loss": value}})
    assert run.metrics() == []
    assert not (run.path / "summary.json").exists()


# the directory


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_resolved_config_comes_back_from_toml(tmp_path, path):
    config = load_config(path, {"privacy.noise_multiplier": 0.1 + 0.2, "privacy.delta": 1e-05})
    run = RunDirectory.create(tmp_path / "run", config)
    assert run.config() == config
    assert run.config().digest() == config.digest()
    assert RunDirectory.open(run.path).config() == config
    written = tomllib.loads(run.config_path.read_text())
    assert written["engine"] == {"workers": config.engine.workers}, "every default is written out"
    assert config_from_dict(written) == config


def test_a_run_that_exists_is_not_written_over(run):
    run.save_checkpoint(checkpoint(1))
    with pytest.raises(RunError, match=r"exists: choose another --out, resume it, or pass --overwrite"):
        RunDirectory.create(run.path, Config())
    assert same(run.load_checkpoint(), checkpoint(1))
    again = RunDirectory.create(run.path, Config(rounds=3), overwrite=True)
    assert again.load_checkpoint() is None
    assert again.config().rounds == 3
    assert [item.name for item in again.path.iterdir()] == ["config.toml"]


def test_an_empty_directory_may_be_taken(tmp_path):
    RunDirectory.create(tmp_path / "new" / "deep", Config())
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="exists"):
        RunDirectory.create(tmp_path / "empty", Config())
    assert RunDirectory.create(tmp_path / "empty", Config(), overwrite=True).config() == Config()


def test_a_run_of_clients_that_took_turns_can_be_overwritten(tmp_path):
    run = RunDirectory.create(tmp_path / "run", Config())
    (run.path / TURNS).mkdir()
    (run.path / TURNS / "0a").write_bytes(b"")
    again = RunDirectory.create(run.path, Config(), overwrite=True)
    assert not (again.path / TURNS).exists()


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"thesis.tex": "years of work"}, "holds no run"),
        ({"config.toml": "[tool.other]\nkey = 1", "data.csv": "1"}, "holds no run"),
        ({"config.toml": "not TOML", "data.csv": "1"}, "holds no run"),
        ({"config.toml": "rounds = 3", ".git/HEAD": "ref"}, r"holds more than a run \(the folder '.git'\)"),
    ],
)
def test_overwriting_never_deletes_what_is_no_run(tmp_path, files, said):
    for name, content in files.items():
        path = tmp_path / "precious" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    with pytest.raises(RunError, match=said):
        RunDirectory.create(tmp_path / "precious", Config(), overwrite=True)
    assert all((tmp_path / "precious" / name).read_text() == content for name, content in files.items())


def test_a_file_in_the_way_is_reported(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is no directory: refusing to overwrite it"):
        RunDirectory.create(tmp_path / "file", Config(), overwrite=True)
    with pytest.raises(RunError, match=r"cannot make run directory .*: Not a directory"):
        RunDirectory.create(tmp_path / "file" / "run", Config())


def test_what_is_no_run_cannot_be_opened(tmp_path):
    with pytest.raises(RunError, match=r"is not a run directory: expected a config.toml in it"):
        RunDirectory.open(tmp_path)


def test_a_config_that_was_damaged_is_reported(run):
    run.config_path.write_text("rounds = 'many'")
    with pytest.raises(ConfigError, match="rounds: expected a valid integer"):
        run.config()
