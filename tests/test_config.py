"""Configs: every problem at once, each with its key, what was expected and what came."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fedcomp.config import Config, config_from_dict, load_config
from fedcomp.errors import ConfigError


def leaves(tree: dict[str, Any], *path: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for key, value in tree.items():
        found += leaves(value, *path, key) if isinstance(value, dict) else [(*path, key)]
    return found


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    tree: Any = value
    for key in reversed(path):
        tree = {key: tree}
    return tree


LEAVES = leaves(Config().model_dump())
CANDIDATES = [
    True,
    False,
    3,
    7,
    0.25,
    0.75,
    [{"id": "raw"}],
    [500, 900],
    [0.5, 1.0],
    {"model": "dense.safetensors"},
    {"every": 2},
    "local",
    "adamw",
    "teacher",
    "dirichlet",
    "fixed",
    "examples",
    "each",
    "client",
    "other",
    "other data",
    "bfloat16",
]


def changed(path: tuple[str, ...]) -> Config:
    """Return a config that differs from the default one at ``path`` alone."""
    for value in CANDIDATES:
        try:
            config = config_from_dict(nested(path, value))
        except ConfigError:
            continue
        if config != Config():
            return config
    raise AssertionError(f"no candidate fits {path}")


TEACHER = {"model": "dense.safetensors"}
TAUGHT = {
    "model": "other.safetensors",
    "sha256": "0" * 64,
    "source": "public",
    "student": "task",
    "steps": [{"id": "channels"}],
    "temperature": 2.0,
    "weight": 1.0,
}


@pytest.mark.parametrize("key", TAUGHT)
def test_everything_about_a_teacher_is_in_the_digest(key):
    changed = {**TEACHER, key: TAUGHT[key]}
    assert config_from_dict({"teacher": changed}).digest() != config_from_dict({"teacher": TEACHER}).digest()
    assert set(TAUGHT) == set(config_from_dict({"teacher": TEACHER}).model_dump()["teacher"])


@pytest.mark.parametrize(
    "change", [{"every": 2}, {"steps": 5}, {"batch_size": 5}, {"learning_rate": 0.5}, {"temperature": 2.0}], ids=str
)
def test_everything_about_fusion_is_in_the_digest(change):
    assert config_from_dict({"fusion": change}).digest() != config_from_dict({"fusion": {}}).digest()
    assert config_from_dict({"fusion": {}}).digest() != Config().digest()


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"typo": 1}, "typo: unknown key, got 1"),
        ({"privacy": {"sigma": 2}}, "privacy.sigma: unknown key, got 2"),
        ({"rounds": "3"}, "rounds: expected a valid integer, got '3'"),
        ({"rounds": True}, "rounds: expected a valid integer, got True"),
        ({"rounds": 2.0}, "rounds: expected a valid integer, got 2.0"),
        ({"rounds": 0}, "rounds: expected greater than 0, got 0"),
        ({"seed": -1}, "seed: expected greater than or equal to 0, got -1"),
        ({"student": {"enabled": 1}}, "student.enabled: expected a valid boolean, got 1"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate: expected a valid number, got 'fast'"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate: expected a finite number, got nan"),
        ({"training": {"momentum": 1.0}}, "training.momentum: expected less than 1, got 1.0"),
        ({"privacy": {"mode": "secret"}}, "privacy.mode: expected 'none', 'local', 'central' or 'distributed'"),
        ({"privacy": {"delta": 1}}, "privacy.delta: expected less than 1, got 1"),
        ({"privacy": {"noise_multiplier": -0.1}}, "privacy.noise_multiplier: expected greater than or equal to 0"),
        ({"privacy": {"sampling_probability": 0}}, "privacy.sampling_probability: expected greater than 0, got 0"),
        ({"clients": {"cohort": -2}}, "clients.cohort: expected greater than 0, got -2"),
        ({"data": 3}, "data: expected a section or table, got 3"),
        ({"uplink": {"id": "topk"}}, "uplink: expected a valid list, got {'id': 'topk'}"),
        ({"uplink": ["topk"]}, "uplink.0: expected a section or table, got 'topk'"),
        ({"name": "a/b"}, "name: expected text that matches"),
        ({"name": ".."}, "name: expected text that matches"),
        ({"name": "a\n"}, "name: expected text that matches"),
        ({"task": 5}, "task: expected a valid string, got 5"),
        ({"clients": {"widths": [0.5, 0.0]}}, "clients.widths.1: expected greater than 0, got 0.0"),
        ({"teacher": {"model": "dense.pt"}}, "teacher.model: expected text that matches"),
        ({"teacher": {"model": "a.safetensors", "sha256": "12"}}, "teacher.sha256: expected text that matches"),
        ({"teacher": {}}, "teacher.model: expected Field required, got {}"),
        ({"fusion": {"steps": 0}}, "fusion.steps: expected greater than 0, got 0"),
    ],
)
def test_each_kind_of_problem_names_key_expected_and_got(tree, said):
    with pytest.raises(ConfigError) as caught:
        config_from_dict(tree)
    (problem,) = caught.value.problems
    assert problem.startswith(said)
    assert "got" in problem


def test_all_problems_come_at_once(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text('rounds = 0\ntypo = 1\n[privacy]\nmode = "x"\ndelta = "small"\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"seed.deep": 1, "seed": -1, "clients.population": 1.5})
    assert sorted(problem.split(":")[0] for problem in caught.value.problems) == [
        "clients.population",
        "privacy.delta",
        "privacy.mode",
        "rounds",
        "seed",
        "typo",
    ]
    assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_override_through_a_value_is_reported_with_the_rest(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("rounds = 0")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"rounds.deep": 1})
    first, second = caught.value.problems
    assert first == "rounds.deep: expected a section named 'rounds', got 0"
    assert second.startswith("rounds: expected greater than 0")


@pytest.mark.parametrize("tree", [[], 3, None, "config"])
def test_what_is_no_table_is_refused(tree):
    with pytest.raises(ConfigError, match="expected a section or table"):
        config_from_dict(tree)


def test_overrides_replace_and_add(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("rounds = 4\n[privacy]\ndelta = 1e-6\n")
    section = {"population": 3}
    config = load_config(
        path,
        {
            "rounds": 5,
            "privacy.target_epsilon": 8.0,
            "clients": section,
            "clients.cohort": 2,
            "uplink": [{"id": "raw"}],
        },
    )
    assert (config.rounds, config.privacy.delta, config.privacy.target_epsilon) == (5, 1e-6, 8.0)
    assert (config.clients.population, config.clients.cohort) == (3, 2)
    assert config.uplink == [{"id": "raw"}]
    assert section == {"population": 3}, "the caller's own value must stay as it was"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"rounds = ", "not a TOML file"), (b"a = 1\na = 2", "not a TOML file"), (b"\xff\xfe", "not a TOML file")],
)
def test_a_file_that_is_not_toml(tmp_path, content, said):
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        load_config(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)


def test_a_config_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        Config().rounds = 3  # type: ignore[misc]


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_the_digest_ignores_name_and_engine_and_nothing_else(path):
    same = path[0] in ("name", "engine")
    assert (changed(path).digest() == Config().digest()) is same


def test_the_digest_does_not_depend_on_how_a_number_is_written():
    whole, real = ({"training": {"learning_rate": value}} for value in (8, 8.0))
    assert config_from_dict(whole).digest() == config_from_dict(real).digest()
    ordered, other = ({"uplink": [dict(items)]} for items in ((("id", 1), ("x", 2)), (("x", 2), ("id", 1))))
    assert config_from_dict(ordered).digest() == config_from_dict(other).digest()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(LEAVES), st.integers(0, 2**40), st.floats(1e-9, 1e9))
def test_json_comes_back_as_it_was(path, seed, rate):
    config = config_from_dict(
        {**changed(path).model_dump(), "seed": seed, "server": {"learning_rate": rate}},
    )
    again = config_from_dict(json.loads(config.to_json()))
    assert again == config
    assert again.to_json() == config.to_json()
    assert again.digest() == config.digest()


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "configs").glob("*.toml")), ids=lambda p: p.name
)
def test_the_configs_that_are_shipped_load(path):
    config = load_config(path)
    assert config.name == path.stem
    assert set(tomllib.loads(path.read_text())) <= set(config.model_dump())
