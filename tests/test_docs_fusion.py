"""The page on fusion names what there is: every option with its default, what a row says, and who may use it."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from fedcomp.config import FusionConfig, config_from_dict, load_config
from fedcomp.errors import ConfigError
from fedcomp.plan import make_plan
from fedcomp.plan.fusion import make_fusion

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "fusion.md").read_text()


def rows(first: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose first heading is ``first``."""
    _, _, behind = PAGE.partition(f"\n| {first} |")
    table = re.match(r"[^\n]*\n\|[-:| ]+\|\n((?:\|.*\n)+)", behind)
    assert table, f"docs/fusion.md: expected a table whose first heading is {first!r}"
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in table[1].splitlines()]


def test_every_option_has_its_row_with_its_default():
    said = {row[0].strip("`"): json.loads(row[1]) for row in rows("option")}
    assert said == FusionConfig().model_dump()


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_every_config_on_the_page_can_be_planned_and_fuses(example):
    assert make_fusion(make_plan(config_from_dict(tomllib.loads(example)))) is not None


def test_every_mode_has_its_row_and_is_refused_where_it_says_so():
    said = {row[0].strip("`"): row[1] for row in rows("mode")}
    assert set(said) == {"none", "local", "central", "distributed"}
    base = {"task": "digits", "data": {"public_examples": 200}, "student": {"enabled": False}, "fusion": {}}
    for mode, answer in said.items():
        unit = "example" if mode == "local" else "client"
        privacy = {"mode": mode, "unit": unit, "noise_multiplier": 2.0, "delta": 1e-4, "nominal_examples": 100}
        config = config_from_dict({**base, "privacy": privacy})
        if answer == "refused":
            with pytest.raises(ConfigError, match="to learn from client models"):
                make_plan(config)
        else:
            assert answer == "yes"
            assert make_fusion(make_plan(config)) is not None


def test_the_row_on_the_page_is_one_of_a_run():
    (said,) = re.findall(r'`("fusion": \{.*?\})`', PAGE)
    assert set(json.loads(f"{{{said}}}")["fusion"]) == {"models", "loss_before", "loss_after"}


def test_what_was_measured_names_configs_that_there_are_and_settings_that_they_take():
    commands = re.findall(r"fedcomp simulate (configs/[\w-]+\.toml)((?: --set [\w.]+=\S+)*)", PAGE)
    assert commands
    for path, settings in commands:
        pairs = (part.split("=") for part in re.findall(r"--set (\S+=[^\s`]+)", settings))
        numbers = {key: json.loads(value) for key, value in pairs if value != "S"}
        load_config(ROOT / path, numbers)


def test_every_file_that_the_page_names_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE)
    named = re.findall(r"`((?:fedcomp|tests|simulations)/[\w/]+\.py)`", PAGE)
    assert links
    assert named
    places = [ROOT / "docs" / link for link in links] + [ROOT / name for name in named]
    assert all(place.exists() for place in places), [str(place) for place in places if not place.exists()]
