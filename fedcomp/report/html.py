"""The page of a run: one file that needs nothing else, no network and no script."""

import re
from collections import Counter
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fedcomp.files import write_atomic
from fedcomp.report import bounds, payloads, plots, units
from fedcomp.report.curve import curve_plot
from fedcomp.report.guarantee import contradictions, example_guarantee
from fedcomp.report.load import RunFiles, load_run
from fedcomp.report.schema import RoundRow
from fedcomp.report.story import is_private, story
from fedcomp.report.tables import summary_rows

_MOST_REFUSALS = 200


def write_report(run_dir: str | Path) -> Path:
    """Read a run's files and write ``report.html`` beside them; returns its path.

    Raises:
        RunError: if a file is missing or damaged, or the page cannot be written; an older page is then left as it was.
    """
    run = load_run(run_dir)
    path = run.path / "report.html"
    write_atomic(path, render_report(run).encode())
    return path


def render_report(run: RunFiles) -> str:
    """Return the page of ``run``: the same text for the same files. Every text of the run is escaped."""
    environment = Environment(
        loader=PackageLoader("fedcomp.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=units.size,
        percent=units.percent,
        duration=units.duration,
        times=units.times,
        time=units.time,
        bits=units.bits,
        epsilon=bounds.epsilon,
        delta=bounds.delta,
        tie=_tie,
        breakable=_breakable,
    )
    return environment.get_template("report.html").render(
        run=run,
        summary=run.summary,
        private=is_private(run.summary),
        story=story(run),
        notices=contradictions(run),
        claims=run.claims,
        broken=[claim for claim in run.claims if not claim.holds],
        figures=_figures(run),
        curve=run.curve if run.curve and run.curve.candidates else None,
        curve_svg=Markup(curve_plot(run.curve) or ""),
        payloads=payloads.payloads(run),
        payload_words=payloads.WORDS,
        sections={name: list(rows) for name, rows in groupby(summary_rows(run.summary), lambda row: row.section)},
        refused=_refused(run.rounds),
    )


def _figures(run: RunFiles) -> list[dict[str, str | Markup | None]]:
    """Return title, sentence for who cannot see the plot, and the plot (or, in its place, why there is none)."""
    guarantee = example_guarantee(run)
    attacks = run.audit.attacks if run.audit else {}
    found = ", ".join(f"{name} {attack.auc:.3f}" for name, attack in attacks.items())
    sent = units.size(run.summary.uplink_bytes), units.size(run.summary.downlink_bytes)
    shown = [
        (
            "Accuracy",
            f"On the test data, ending at {units.percent(run.summary.accuracy.global_)}.",
            plots.accuracy_plot(run.rounds, run.summary.accuracy.student),
            "No round was evaluated.",
        ),
        (
            "Bytes sent so far",
            f"Real payloads, ending at {sent[0]} up and {sent[1]} down.",
            plots.bytes_plot(run.rounds),
            "No round was recorded.",
        ),
        (
            "Epsilon spent so far",
            f"Ending at {bounds.epsilon(run.summary.epsilon.value)}; lower is stronger.",
            plots.epsilon_plot(run.rounds, run.target_epsilon),
            f"{bounds.NO_PRIVACY.capitalize()}.",
        ),
        (
            "Membership attack",
            f"AUC: {found}; guessing is 0.5.",
            plots.roc_plot(run.audit, guarantee),
            "No attack was run.",
        ),
    ]
    # The SVG holds figures and our own labels, no text of the run: it is the one thing that is not escaped.
    return [
        {"title": title, "caption": caption, "svg": Markup(svg) if svg else None, "absent": absent}
        for title, caption, svg, absent in shown
    ]


def _tie(text: str) -> str:
    """Keep a figure and its unit on one line."""
    return re.sub(r"(?<=\d) (?=(%|[KMGTP]?B|ms|s|min|h)(?!\w))", "\N{NO-BREAK SPACE}", text)


def _breakable(name: str) -> Markup:
    """Escape an array's name, and let a long one break after its dots."""
    return Markup("<wbr>").join(re.split(r"(?<=[._])", name))


def _refused(rounds: tuple[RoundRow, ...]) -> dict[str, object]:
    every = [(row.round, refusal.client, refusal.reason) for row in rounds for refusal in row.refused]
    reasons = Counter(reason for _, _, reason in every).most_common(10)
    return {"rows": every[:_MOST_REFUSALS], "more": max(0, len(every) - _MOST_REFUSALS), "reasons": reasons}
