"""Matplotlib figures turned into inline SVG that takes its colours from the page around it."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#667380", "#d5dbe1"
FIRST, SECOND = "#2466ad", "#b8590b"

# Every colour of a plot becomes a variable of the page: the same SVG then reads on light and on dark.
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", FIRST: "--first", SECOND: "--second"}
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: it can be read aloud, searched and copied
    "font.family": "sans-serif",
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "text.color": INK,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 2.0,
    "legend.borderaxespad": 0.0,
}


class Canvas:
    """One figure with one pair of axes; ``svg`` is set when the ``canvas`` block ends."""

    def __init__(self) -> None:
        self.figure = Figure(figsize=(4.4, 2.95), layout="constrained")
        self.axes: Axes = self.figure.add_subplot()
        self.svg = ""


@contextmanager
def canvas(name: str) -> Iterator[Canvas]:
    """Yield a ``Canvas`` to draw on, and render it when the block ends.

    The result is the same bytes for the same drawing: no date, ids salted with ``name``, Matplotlib's defaults in place
    of the user's. pyplot is never touched.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE | {"svg.hashsalt": f"fedcomp {name}"})
        drawn = Canvas()
        yield drawn
        drawn.svg = _render(drawn.figure, name)


def _render(figure: Figure, name: str) -> str:
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    backend: Any = FigureCanvasSVG(figure)  # print_svg has no types; print_figure has, and draws everything twice
    backend.print_svg(buffer, metadata=metadata)
    figure.clear()
    return _inline(buffer.getvalue(), name)


def _inline(document: str, name: str) -> str:
    """Cut a standalone SVG document down to what HTML needs: no prolog, namespaces, fixed size or clashing ids."""
    svg = document[document.index("<svg") :]
    svg = re.sub(r' (xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg[: svg.index(">")]) + svg[svg.index(">") :]
    svg = svg.replace("xlink:href", "href").replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    svg = re.sub(
        r' id="[A-Za-z0-9.]+_\d+"', "", svg
    )  # groups are numbered alike in every figure, and nothing refers to them
    svg = re.sub(r'(id="|href="#|url\(#)([pm][0-9a-f]{10}\w*)', rf"\1{name}-\2", svg)
    # The font of the page, at the size that Matplotlib laid out for.
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.strip()
