"""The command line: reads what the user asks, calls the library, shows what came of it. No logic.

Exit codes: 0 done; 1 an audit found a claim that does not hold; 2 the config or the command is wrong; 3 data is
missing; 4 files (a run that exists, a full disk, keys); 5 the privacy budget is spent; 6 the run could not finish;
130 interrupted.
"""

import sys

import typer
from rich.console import Console
from rich.text import Text

from fedcomp.cli.commands import keys, runs
from fedcomp.cli.models import models
from fedcomp.errors import ConfigError, FedcompError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
app.add_typer(runs)
app.add_typer(models)
app.add_typer(keys, name="keys")


def main() -> None:
    """Run the command line; every error that a user can cause is a sentence on stderr and an exit code."""
    problems = Console(stderr=True, soft_wrap=True)
    try:
        app()
    except ConfigError as error:
        for problem in error.problems:
            problems.print(Text(f"error: {problem}"))
        sys.exit(error.exit_code)
    except FedcompError as error:
        problems.print(Text(f"error: {error}"))
        sys.exit(error.exit_code)
    except OSError as error:
        problems.print(Text(f"error: {error.strerror or error}: {error.filename or 'disk'}"))
        sys.exit(4)
    except KeyboardInterrupt:
        problems.print(Text("interrupted; `fedcomp resume RUN` goes on after the last finished round"))
        sys.exit(130)
