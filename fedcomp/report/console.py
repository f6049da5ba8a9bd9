"""A run in the terminal: its summary, two runs side by side, and progress while it goes."""

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from fedcomp.report import bounds, units
from fedcomp.report.load import RunFiles, read_summary
from fedcomp.report.payloads import WORDS, LayerRow, Payload, payloads
from fedcomp.report.tables import Row, comparison_rows, summary_rows


def summary_table(summary: Mapping[str, Any]) -> Table:
    """Return what ``summary.json`` holds as a table; raises ``RunError`` for one that is damaged."""
    run = read_summary(summary)
    return _table([run.name], summary_rows(run))


def comparison_table(a: Mapping[str, Any], b: Mapping[str, Any]) -> Table:
    """Return two summaries side by side; raises ``RunError`` for one that is damaged."""
    first, second = read_summary(a, "first summary"), read_summary(b, "second summary")
    return _table([first.name, second.name], comparison_rows(first, second))


def bytes_table(run: RunFiles) -> Table | None:
    """Return the bytes of a run's payloads after each stage and by layer; ``None`` if it kept none to break down."""
    shown = payloads(run)
    if not shown:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), caption=_caption(shown), caption_justify="left")
    table.add_column("Where the bytes went", overflow="fold")
    for heading in ("values", "bytes", "bits per value", "against fp32"):
        table.add_column(heading, justify="right", no_wrap=True)
    for payload in shown:
        table.add_row(Text(f"{payload.direction}, after each stage", style="bold"))
        for stage in payload.stages:
            table.add_row(_plain(f"  {stage.name}"), "", units.size(stage.bytes), "", stage.against_fp32)
        if payload.total is not None:
            table.add_row(Text(f"{payload.direction}, by layer", style="bold"))
            for layer in (*payload.layers, payload.total):
                table.add_row(_plain(f"  {layer.name}"), *_layer(layer), "")
    return table


class RoundProgress:
    """Shows how far a run is: round, accuracy, bytes up with their ratio to fp32, epsilon, time.

    A bar on a terminal; elsewhere (a log, a pipe) one plain line for about every tenth of the rounds. Bytes are totals;
    accuracy stays at the last one that was measured. Used as a context manager.
    """

    def __init__(self, rounds: int, console: Console, earlier: Iterable[Mapping[str, Any]] = ()) -> None:
        """``rounds`` is the number of the last round; ``earlier`` has the rows of a run that is resumed."""
        self._rounds, self._done = rounds, 0
        self._console = console
        self._sent = self._sent_fp32 = 0
        self._accuracy: float | None = None
        self._epsilon: float | None = None
        self._started = time.monotonic()
        self._bar = Progress(
            TextColumn("round {task.completed:.0f}/{task.total:.0f}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        for row in earlier:
            self._count(row)
        self._first = self._done
        state = self._state() if self._done else ""
        self._task = self._bar.add_task("rounds", total=rounds, completed=self._done, state=state)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def update(self, row: Mapping[str, Any]) -> None:
        """Show a finished round; ``row`` is its row of ``metrics.jsonl``."""
        before = self._done
        self._count(row)
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, state=self._state())
        elif self._is_due(before):
            self._console.print(Text(self._line()), soft_wrap=True)

    def _count(self, row: Mapping[str, Any]) -> None:
        self._done = int(row["round"])
        self._sent += int(row["uplink_bytes"])
        self._sent_fp32 += int(row["uplink_fp32_bytes"])
        self._accuracy = self._accuracy if row["accuracy"] is None else float(row["accuracy"])
        self._epsilon = None if row["epsilon"] is None else float(row["epsilon"])

    def _is_due(self, before: int) -> bool:
        tenths = [10 * done // max(1, self._rounds) for done in (before, self._done)]
        return before == self._first or tenths[0] != tenths[1] or self._done >= self._rounds

    def _state(self) -> str:
        accuracy = "-" if self._accuracy is None else units.percent(self._accuracy)
        ratio = f" ({self._sent_fp32 / self._sent:.1f}x)" if self._sent else ""
        epsilon = "none" if self._epsilon is None else bounds.epsilon(self._epsilon)
        return f"acc {accuracy}  up {units.size(self._sent)}{ratio}  epsilon {epsilon}"

    def _line(self) -> str:
        elapsed = time.monotonic() - self._started
        left = elapsed / max(1, self._done - self._first) * max(0, self._rounds - self._done)
        times = f"{units.duration(elapsed)} elapsed, {units.duration(left)} left"
        return f"round {self._done}/{self._rounds}  {self._state()}  {times}"


def _table(names: list[str], rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(_plain(name), justify="right", overflow="fold")
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            table.add_row(Text(section, style="bold"))
        table.add_row(Text(f"  {row.label}"), *(_plain(value) for value in row.values))
    return table


def _layer(layer: LayerRow) -> tuple[str, str, str]:
    return f"{layer.values:,}", units.size(layer.bytes), "-" if layer.bits is None else units.bits(layer.bits)


def _caption(shown: list[Payload]) -> Text:
    words = [f"{payload.direction}: {payload.about}" for payload in shown]
    words += [f"{payload.direction}: {WORDS['mixed']}" for payload in shown if not payload.layers]
    return Text("\n".join(words if len(shown) > 1 else [*words, WORDS["no_downlink"]]))


def _plain(text: str) -> Text:
    """Return a text of the run as what it is: no markup, and no control character reaches the terminal."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text))


def candidates_table(candidates: Sequence[Mapping[str, Any]], chosen: str) -> Table:
    """Return the best of an export's candidates, fastest first: those no other beats in both, and the chosen one."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in ("", "time", "vs ORT", "vs torch", "file", "points lost"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=bool(title))
    shown = [each for each in candidates if each["best"] or each["name"] == chosen]
    for each in sorted(shown, key=lambda candidate: float(candidate["latency_ms"])):
        low, high = each["loss_interval"]
        table.add_row(
            Text(f"{'* ' if each['name'] == chosen else '  '}{each['name']}"),
            units.time(each["latency_ms"]),
            f"{each['speed_up']:.1f}x",
            f"{each['eager_speed_up']:.1f}x",
            units.size(each["bytes"]),
            f"{each['accuracy_loss']:+.2f} ({low:+.1f} to {high:+.1f})",
            style="bold" if each["name"] == chosen else None,
        )
    return table


def findings_text(findings: Sequence[Mapping[str, Any]]) -> Text:
    """Return an audit's findings as ``audit.json`` has them, layer by layer; how it was found only where none holds."""
    text = Text()
    for layer, group in groupby(findings, lambda finding: finding["layer"]):
        text.append(f"{layer}\n", style="bold")
        for each in group:
            mark = ("holds", "green") if each["holds"] else (str(each["verdict"]).upper(), "bold red")
            text.append(f"  {mark[0]}", style=mark[1]).append(f"  {each['claim']}\n")
            text.append(f"         {each['measured']}\n", style="dim")
            if not each["holds"]:
                text.append(f"         {each['how']}\n", style="dim")
    broken = [each for each in findings if not each["holds"]]
    if not findings:
        return text.append("no privacy is claimed: there is nothing to hold a run to")
    if not broken:
        return text.append(f"all {len(findings)} claims hold", style="bold green")
    return text.append(
        f"{len(broken)} of {len(findings)} claims do not hold: {broken[0]['claim']} ({broken[0]['verdict']})",
        style="bold red",
    )
