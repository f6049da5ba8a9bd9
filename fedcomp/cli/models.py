"""Commands over small models: export one from a run, and ask one about some rows."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from fedcomp.cli.options import AsJson, RunPath, print_json
from fedcomp.errors import ConfigError

models = typer.Typer()


@models.command()
def export(
    run: RunPath,
    to: Annotated[str, typer.Option(help="onnx, executorch, openvino, or any: what runs the small model.")] = "onnx",
    target: Annotated[
        list[str] | None,
        typer.Option(help="latency=2ms, size=300KB or accuracy_loss=1.0 (points): search for the small model."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Without --target the file (RUN/student.onnx), else the folder (RUN/small).")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of training after each cut.")] = 1500,
    batch: Annotated[int, typer.Option(min=1, help="Rows a batch when time is taken.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads when time is taken.")] = 1,
    private_rows: Annotated[
        bool, typer.Option("--private-rows", help="Mode none only: make and choose by the clients' rows.")
    ] = False,
    made_up_rows: Annotated[
        bool,
        typer.Option("--made-up-rows", help="Without public rows: make some; accuracy is then not measured."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Export the small model of a finished run: its student as it is, or the best that a search finds."""
    if target is None:
        _export_student(run, to, out)
        return
    from fedcomp.export.search import Timing
    from fedcomp.export.story import Wish, export_run
    from fedcomp.export.target import frontier, parse_target
    from fedcomp.report import write_report

    runtime = {"onnx": "onnxruntime"}.get(to, to)
    wish = Wish(
        parse_target(target),
        runtime,
        steps=steps,
        timing=Timing(batch, threads),
        private_rows=private_rows,
        made_up_rows=made_up_rows,
    )
    console = Console(stderr=True, quiet=as_json)
    found = export_run(run, wish, out, lambda text: console.print(Text(text)))
    write_report(run)
    if as_json:
        print_json({"model": str(found.model), "why": found.choice.why, "chosen": found.choice.chosen.to_json()})
        return
    from fedcomp.report.console import candidates_table

    best = {each.name for each in frontier(found.candidates)}
    rows = [each.to_json() | {"best": each.name in best} for each in found.candidates]
    Console().print(candidates_table(rows, found.choice.chosen.name))
    said = f"wrote {found.model} ({found.model.stat().st_size:,} bytes): {found.choice.why}"
    Console().print(Text(f"\n{said}\nall {len(rows)} candidates: {run / 'curve.json'}"), soft_wrap=True)


def _export_student(run: Path, to: str, out: Path | None) -> None:
    from fedcomp.outcome import export_student

    if to != "onnx":
        raise ConfigError([f"--to: expected onnx, or any other with a --target, got {to}"])
    path = export_student(run, out or run / "student.onnx")
    Console().print(Text(f"wrote {path} ({path.stat().st_size:,} bytes)"))


@models.command(name="run")
def run_model(
    model: Annotated[Path, typer.Argument(help="A small model's file; a manifest.json beside it is checked first.")],
    rows: Annotated[Path, typer.Argument(metavar="INPUT", help="Rows in a .npy file, or a picture.")],
    signer: Annotated[str | None, typer.Option(help="Public key, hexadecimal, that must have signed it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a small model about some rows."""
    from fedcomp.export.quick_look import quick_look

    answer = quick_look(model, rows, signer)
    largest = answer.outputs.argmax(axis=-1).tolist()
    if as_json:
        facts = {"outputs": answer.outputs.tolist(), "largest": largest, "milliseconds": answer.milliseconds}
        print_json({**facts, "signer": answer.manifest.signer if answer.manifest else None})
        return
    for number, (outputs, place) in enumerate(zip(answer.outputs, largest, strict=True)):
        said = ", ".join(f"{value:.3g}" for value in outputs.ravel()[:10])
        Console().print(Text(f"row {number}: output {place} is largest; {said}"))
    signed = f"signed by {answer.manifest.signer}" if answer.manifest else "no manifest beside the model: unchecked"
    Console().print(Text(f"{answer.milliseconds:.3g} ms for {len(answer.outputs)} row(s); {signed}"))
