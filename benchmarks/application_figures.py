"""The figure of an application's page: what each small model of a run costs in time, and what it gets right.

``python -m benchmarks.application_figures RUN SVG`` draws the ``curve.json`` that ``fedcomp export RUN --target ...``
left in the run. Equal files give equal bytes.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from pydantic import ValidationError

from fedcomp.export.search import BASELINE
from fedcomp.report import units
from fedcomp.report.curve import Curve, CurvePoint

_INK, _MUTED, _FRONT, _CHOSEN = "#1f2933", "#8a96a3", "#2466ad", "#b8590b"
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text, in whatever font the reader has
    "svg.hashsalt": "fedcomp application",
    "font.size": 9.5,
    "text.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the figure of a run into a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run whose small model was searched for")
    parser.add_argument("svg", type=Path, help="the file to write")
    options = parser.parse_args(arguments)
    file = options.run / "curve.json"
    try:
        curve = Curve.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        parser.error(f"expected {file}, found nothing; `fedcomp export {options.run} --target ...` writes it")
    except ValidationError as error:
        parser.error(f"{file}: {error}")
    options.svg.write_text(draw(curve), encoding="utf-8")
    return 0


def draw(curve: Curve) -> str:
    """Return a standalone SVG on white: all candidates, the frontier, the dense model in ONNX Runtime, the chosen one.

    Time of a batch is on a log axis; accuracy is that on the rows which the search judged by.

    Raises:
        ValueError: for a curve without candidates.
    """
    if not curve.candidates:
        raise ValueError("curve must have at least one candidate, got none")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own style must not change the file
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(7.2, 4.2), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        _points(axes, curve)
        _scales(axes, curve)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.01), ncols=2)
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _points(axes: Axes, curve: Curve) -> None:
    front = sorted((each for each in curve.candidates if each.best), key=lambda each: each.latency_ms)
    dense = [each for each in curve.candidates if each.name == BASELINE]
    chosen = [each for each in curve.candidates if each.name == curve.chosen]
    _mark(axes, curve.candidates, _counted(len(curve.candidates), "candidate"), color=_MUTED, marker="o", markersize=4)
    _mark(axes, front, "frontier", color=_FRONT, marker="o", markersize=5, linestyle="-")
    _mark(axes, dense, BASELINE, color="white", marker="s", markersize=7, markeredgecolor=_INK)
    _mark(axes, chosen, f"chosen: {curve.chosen}", color=_CHOSEN, marker="D", markersize=8, markeredgecolor=_INK)


def _mark(axes: Axes, points: Sequence[CurvePoint], label: str, **style: Any) -> None:
    if points:
        places = [each.latency_ms for each in points], [each.accuracy for each in points]
        axes.plot(*places, label=label, **{"linestyle": "", **style})


def _scales(axes: Axes, curve: Curve) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: units.time(x)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.4g} %"))
    axes.set_xlabel(f"time of a batch of {curve.batch}, {_counted(curve.threads, 'thread')}")
    axes.set_ylabel(f"accuracy on {curve.rows} {curve.data} rows")
    axes.grid(alpha=0.3)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    raise SystemExit(main())
