"""Arguments that several commands share, and how they print."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A TOML file, such as those in configs/.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory, such as runs/demo.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. rounds=5.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def print_json(content: Any) -> None:
    """Write ``content`` to standard output as indented JSON."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
