"""Codecs from configs, and no stage that is forgotten."""

import importlib
import inspect
import pkgutil

import pytest

from fedcomp.codecs import codec_from_config, describe_codecs, stages
from fedcomp.codecs.registry import STAGES, StageInfo
from fedcomp.codecs.stage import Stage
from fedcomp.errors import ConfigError


def refusal(config: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        codec_from_config(config)
    return caught.value.problems


def test_every_stage_file_is_registered() -> None:
    modules = [
        importlib.import_module(f"{stages.__name__}.{item.name}") for item in pkgutil.iter_modules(stages.__path__)
    ]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Stage) and value.__module__ == module.__name__
    }
    assert found == set(STAGES.values())
    assert len(found) == len(modules)
    assert all(stage.id == key for key, stage in STAGES.items())


def test_every_problem_is_named_at_once() -> None:
    problems = refusal(
        [{"id": "topk", "density": 1.5}, {"id": "zip"}, {"id": "uniform", "bit_width": 4, "bits": 3}, {"id": "dither"}]
    )
    assert problems == (
        "[0].density: expected a number in (0, 1], got 1.5",
        f"[1].id: expected one of {', '.join(STAGES)}, got 'zip'",
        "[2].bits: unknown option, expected one of bit_width, stochastic_rounding, got 3",
        "[3].step_rms: expected a number in [0.001, 1000], got None (it must be given)",
    )


@pytest.mark.parametrize(
    ("stage", "problem"),
    [
        ({"id": "topk", "density": 0}, "[0].density: expected a number in (0, 1], got 0"),
        ({"id": "topk", "density": True}, "[0].density: expected a number in (0, 1], got True"),
        ({"id": "topk", "density": "a"}, "[0].density: expected a number in (0, 1], got 'a'"),
        ({"id": "topk", "density": float("nan")}, "[0].density: expected a number in (0, 1], got nan"),
        ({"id": "uniform", "bit_width": 9}, "[0].bit_width: expected an integer in [2, 8], got 9"),
        ({"id": "uniform", "bit_width": 4.0}, "[0].bit_width: expected an integer in [2, 8], got 4.0"),
        (
            {"id": "uniform", "bit_width": 4, "stochastic_rounding": 1},
            "[0].stochastic_rounding: expected true or false, got 1",
        ),
        ({"id": "step", "step_rms": 1, "dead_zone": 1}, "[0].dead_zone: expected a number in [0.5, 1), got 1"),
        ({"id": "dither", "step_rms": float("inf")}, "[0].step_rms: expected a number in [0.001, 1000], got inf"),
        ({"id": "structured", "density": 1, "axis": "cols"}, "[0].axis: expected one of rows, channels, got 'cols'"),
        ({"id": "structured", "density": 1, "axis": 0}, "[0].axis: expected one of rows, channels, got 0"),
        ({"id": "rans", "lanes": 3}, "[0].lanes: unknown option, expected no option beside 'rans', got 3"),
        ({"density": 0.1}, "[0]: expected an object with an id, got {'density': 0.1}"),
        ("topk", "[0]: expected an object with an id, got 'topk'"),
    ],
)
def test_refusals(stage: object, problem: str) -> None:
    assert refusal([stage]) == (problem,)


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (["rans", "rans"], "[1] rans: expected values that are not entropy-coded yet, got coded ones"),
        (["rans", "topk"], "[1] topk: expected float32 values from the stage before, got uint8"),
        (["uniform", "dither"], "[1] dither: expected float32 values from the stage before, got int8"),
        (["float16", "uniform"], "[1] uniform: expected float32 values from the stage before, got float16"),
        (["topk", "raw"], "raw: expected to stand alone, got other stages beside it"),
    ],
)
def test_orders_that_cannot_be(ids: list[str], problem: str) -> None:
    options = {"topk": {"density": 0.5}, "uniform": {"bit_width": 4}, "dither": {"step_rms": 1}}
    assert refusal([{"id": key} | options.get(key, {}) for key in ids]) == (problem,)


@pytest.mark.parametrize("config", [None, "rans", {"id": "rans"}, 3])
def test_configs_that_are_no_list(config: object) -> None:
    assert refusal(config) == (f"expected a list of stages, got {config!r}",)


def test_equal_configs_have_equal_digests() -> None:
    left, right = codec_from_config([{"id": "topk", "density": 1}]), codec_from_config([{"density": 1.0, "id": "topk"}])
    assert left == right
    assert left.digest() == right.digest()
    assert left.digest() != codec_from_config([{"id": "topk", "density": 0.5}]).digest()
    assert left.config() == [{"id": "topk", "density": 1.0}]


def test_every_stage_is_described() -> None:
    assert [info.id for info in describe_codecs()] == list(STAGES)


@pytest.mark.parametrize("info", describe_codecs(), ids=lambda info: info.id)
def test_descriptions_hold_what_a_config_needs(info: StageInfo) -> None:
    assert info.summary.endswith(".")
    assert len(info.summary) <= 100
    if info.id == "zstd":
        pytest.importorskip("zstandard", reason="zstandard is not installed: pip install fedcomp[zstd]")
    examples = {option.name: option.example for option in info.options}
    codec = codec_from_config([{"id": info.id} | examples])
    assert codec.config() == [{"id": info.id} | examples]
    assert (codec.biased, codec.data_dependent) == (info.biased, info.data_dependent)
    needed = {option.name: option.example for option in info.options if option.default is None}
    assert codec_from_config([{"id": info.id} | needed]).config()[0].keys() == examples.keys() | {"id"}


def test_what_depends_on_data_and_what_is_biased() -> None:
    stated = {info.id: (info.data_dependent, info.biased) for info in describe_codecs()}
    assert stated == {
        "raw": (False, False),
        "delta": (False, False),
        "feedback": (False, False),
        "topk": (True, True),
        "layer-topk": (True, True),
        "importance-topk": (True, True),
        "structured": (True, True),
        "random-mask": (False, False),
        "released-mask": (False, True),
        "low-rank": (True, True),
        "sketch": (False, False),
        "block-uniform": (True, False),
        "nf4": (True, True),
        "rotate": (True, False),
        "sign": (True, True),
        "ternary": (True, False),
        "fixed-point": (False, False),
        "bfloat16": (False, True),
        "float8": (True, True),
        "zstd": (True, False),
        "uniform": (True, False),
        "step": (True, True),
        "dither": (True, False),
        "float16": (False, True),
        "rans": (True, False),
        "rate": (True, True),
        "auto": (True, True),
    }
    assert not codec_from_config([{"id": "random-mask", "density": 0.5}, {"id": "float16"}]).data_dependent
    assert codec_from_config([{"id": "random-mask", "density": 0.5}, {"id": "rans"}]).data_dependent
    assert codec_from_config([{"id": "random-mask", "density": 0.5, "rescale": False}]).biased
    assert codec_from_config([{"id": "uniform", "bit_width": 4, "stochastic_rounding": False}]).biased
