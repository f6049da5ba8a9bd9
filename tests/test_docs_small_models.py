"""The page on small models names what there is: every step with its options, every runtime and number format."""

import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from fedcomp.config import config_from_dict
from fedcomp.runtimes.registry import RUNTIMES
from fedcomp.shrink.registry import STEPS

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "small-models.md").read_text()


def rows(first: str) -> list[list[str]]:
    """Return the cells of the rows of the table whose first heading is ``first``."""
    _, _, behind = PAGE.partition(f"\n| {first} |")
    table = re.match(r"[^\n]*\n\|[-:| ]+\|\n((?:\|.*\n)+)", behind)
    assert table, f"docs/small-models.md: expected a table whose first heading is {first!r}"
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in table[1].splitlines()]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_step_has_its_row_with_its_options_and_what_it_reads():
    said = {words(row[0])[0]: row[1:3] for row in rows("id")}
    expected = {}
    for name, step in STEPS.items():
        defaults = ((field.name, field.default) for field in fields(step))
        options = ", ".join(f"`{option}` {json.dumps(value)}" for option, value in defaults)
        expected[name] = [options, "material's" if step.reads else "none"]
    assert said == expected


def test_every_runtime_has_its_row_with_the_ending_of_its_files():
    assert {words(row[0])[0]: words(row[1])[0] for row in rows("runtime")} == {
        name: runtime.suffix for name, runtime in RUNTIMES.items()
    }


def test_every_number_format_has_its_row_with_its_runtimes_and_whether_it_is_calibrated():
    said = {words(row[0])[0]: (words(row[1]), row[4]) for row in rows("format")}
    for number_format in {each for runtime in RUNTIMES.values() for each in runtime.formats} | said.keys():
        having = [runtime for runtime in RUNTIMES.values() if number_format in runtime.formats]
        reads = {number_format in runtime.calibrated for runtime in having}
        assert said[number_format] == ([each.name for each in having], "yes" if reads == {True} else "no")


@pytest.mark.parametrize("example", re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL))
def test_every_config_on_the_page_is_one(example):
    assert config_from_dict(tomllib.loads(example)).task == "digits"


def test_every_file_that_the_page_names_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE)
    named = re.findall(r"`((?:fedcomp|tests)/[\w/]+\.py)`", PAGE)
    commands = re.findall(r"python -m (benchmarks\.\w+)", PAGE)
    assert links
    assert named
    assert commands
    places = [DOCS / link for link in links] + [DOCS.parent / name for name in named]
    places += [DOCS.parent / f"{command.replace('.', '/')}.py" for command in commands]
    assert all(place.exists() for place in places), [str(place) for place in places if not place.exists()]
