"""Commands over runs: simulate, resume, plan, audit, report; and those over codecs and keys."""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from fedcomp.cli.options import AsJson, ConfigPath, RunPath, Settings, print_json
from fedcomp.errors import ConfigError
from fedcomp.observer import Observer

runs = typer.Typer()
keys = typer.Typer(no_args_is_help=True, help="Keys of clients and server.")


@runs.command()
def simulate(
    config: ConfigPath,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option(help="The run's directory; runs/NAME if left out.")] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download data that is missing into the user's cache.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run federated rounds with virtual clients on this machine."""
    from fedcomp import simulation  # torch and Flower: not for `fedcomp --help`

    loaded = _load(config, settings)
    if fetch:
        from fedcomp.tasks import load_task

        load_task(loaded.task, download=True).train()
    with _Progress(loaded.rounds, as_json) as progress:
        result = simulation.simulate(loaded, out=out, overwrite=overwrite, observer=progress)
    _show_result(result.path, result.summary, as_json)


@runs.command()
def resume(run: RunPath, as_json: AsJson = False) -> None:
    """Go on with a run where it stopped."""
    from fedcomp import simulation
    from fedcomp.run_files import RunDirectory

    directory = RunDirectory.open(run)
    with _Progress(directory.config().rounds, as_json, directory.metrics()) as progress:
        result = simulation.resume(run, observer=progress)
    _show_result(result.path, result.summary, as_json)


@runs.command()
def plan(config: ConfigPath, settings: Settings = None, as_json: AsJson = False) -> None:
    """Show what a run will cost before it runs: epsilon, noise, bytes, memory."""
    from fedcomp.forecast import forecast
    from fedcomp.plan import make_plan

    facts = forecast(make_plan(_load(config, settings)))
    if as_json:
        print_json(facts)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts.items():
        table.add_row(Text(name.replace("_", " ")), Text(_in_words(value)))
    Console().print(table)


@runs.command()
def audit(
    run: RunPath,
    quick: Annotated[
        bool, typer.Option("--quick", help="Draw less; leave out shadow models and the inversion of updates.")
    ] = False,
    delta: Annotated[float, typer.Option(help="For a ledger alone: delta of the epsilon that is printed.")] = 1e-5,
    anchor: Annotated[str | None, typer.Option(help="For a ledger alone: a head that has to be in it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Audit a run's claims: its code, its ledger, its released models; or a device's ledger, a file. Exit 1 if one
    does not hold."""
    findings = _audit_file(run, delta, anchor) if run.is_file() else _audit_run(run, quick, as_json)
    if as_json:
        print_json({"claims": [finding.to_json() for finding in findings]})
    else:
        from fedcomp.report.console import findings_text

        Console().print(findings_text([finding.to_json() for finding in findings]), soft_wrap=True)
    if any(not each.holds for each in findings):
        raise typer.Exit(1)


def _audit_file(path: Path, delta: float, anchor: str | None) -> Any:
    from fedcomp.audit.device_ledger import audit_ledger

    try:
        return audit_ledger(path, delta, anchor=anchor)
    except ValueError as error:
        raise ConfigError([f"--delta: {error}"]) from error


def _audit_run(run: Path, quick: bool, as_json: bool) -> Any:
    from fedcomp import simulation
    from fedcomp.run_files import RunDirectory

    with _Progress(RunDirectory.open(run).config().rounds, as_json) as progress:
        return simulation.audit(run, quick=quick, observer=progress)


@runs.command()
def report(
    run: RunPath,
    against: Annotated[Path | None, typer.Option(metavar="OTHER", help="Print this run beside another.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Write report.html, and print the summary, beside another run's if there is one."""
    from fedcomp.report import load_run, write_report
    from fedcomp.report.console import bytes_table, comparison_table, summary_table
    from fedcomp.report.tables import comparison_rows, markdown_table

    page, summary = write_report(run), _summary(run)
    if against is None:
        Console().print(summary_table(summary))
        if (table := bytes_table(load_run(run))) is not None:
            Console().print("", table)
    elif markdown:
        first, second = load_run(run).summary, load_run(against).summary
        sys.stdout.write(markdown_table(["", first.name, second.name], comparison_rows(first, second)) + "\n")
    else:
        Console().print(comparison_table(summary, _summary(against)))
    Console(stderr=True).print(Text(f"report: {page}"))


@runs.command()
def codecs(as_json: AsJson = False) -> None:
    """List the stages of codecs: options, bias, error bound and the privacy modes that admit them."""
    from fedcomp.codecs import describe_codecs

    if as_json:
        print_json({"codecs": [_stage(info) for info in describe_codecs()]})
        return
    table = Table(Column("id", no_wrap=True), "what it does", "what it is", box=None, pad_edge=False)
    for info in describe_codecs():
        row = _stage(info)
        options = [f"  {name}: {what}" for name, what in row["options"].items()]
        kind = ("biased" if row["biased"] else "unbiased", "dependent" if row["data_dependent"] else "independent")
        facts = [f"{kind[0]}, data-{kind[1]}", f"error bound: {info.bound}", f"modes: {', '.join(info.modes)}"]
        table.add_row(Text(info.id), Text("\n".join([info.summary, *options])), Text("\n".join(facts)))
    Console().print(table)


@keys.command("new")
def keys_new(path: Annotated[Path, typer.Argument(help="Where the private key goes; mode 0600.")]) -> None:
    """Make a key pair from the operating system's entropy."""
    from fedcomp.crypto import KeyPair

    pair = KeyPair.generate()
    pair.save(path)
    Console().print(Text(f"private key: {path}\npublic key:  {pair.public_text()}\nkey id:      {pair.key_id}"))


@keys.command("show")
def keys_show(path: Annotated[Path, typer.Argument(help="A private key file.")]) -> None:
    """Print the public half of a key, to give to the other side."""
    from fedcomp.crypto import KeyPair

    pair = KeyPair.load(path)
    Console().print(Text(f"public key:  {pair.public_text()}\nkey id:      {pair.key_id}"))


class _Progress(Observer):
    """Shows rounds as they end, then the phases after them."""

    def __init__(self, rounds: int, quiet: bool, earlier: Any = ()) -> None:
        from fedcomp.report.console import RoundProgress

        self._console = Console(stderr=quiet, quiet=quiet)
        self._bar = RoundProgress(rounds, self._console, earlier)

    def __enter__(self) -> "_Progress":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.__exit__(*error)

    def round_done(self, row: Mapping[str, Any]) -> None:
        self._bar.update(row)

    def phase(self, name: str) -> None:
        self._console.print(Text(name))


def _load(path: Path, settings: list[str] | None) -> Any:
    from fedcomp.config import load_config

    return load_config(path, dict(_setting(text) for text in settings or []))


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError([f"--set: expected KEY=VALUE, got {text!r}"])
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value  # a bare word is text: nobody types quotes inside quotes gladly


def _show_result(path: Path, summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from fedcomp.report.console import summary_table

    Console().print(summary_table(summary))
    Console().print(Text(f"\nreport: {path / 'report.html'}"), soft_wrap=True)


def _summary(run: Path) -> Any:
    from fedcomp.report import load_run

    return json.loads((load_run(run).path / "summary.json").read_text())


def _stage(info: Any) -> dict[str, Any]:
    options = {
        option.name: option.expected + ("" if option.default is None else f" (default {option.default})")
        for option in info.options
    }
    flags = {"biased": info.biased, "data_dependent": info.data_dependent}
    return {
        "id": info.id,
        "summary": info.summary,
        "options": options,
        **flags,
        "bound": info.bound,
        "modes": list(info.modes),
    }


def _in_words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(_in_words, value)) if isinstance(value, list) else str(value)
