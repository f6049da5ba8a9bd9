"""The figure of ``benchmarks.bytes_to_accuracy``: accuracy over all bytes that were sent, one line a codec."""

import io
from collections.abc import Mapping, Sequence
from typing import Protocol

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fedcomp bytes to accuracy",
    "font.size": 9.5,
    "legend.frameon": False,
}


class _Curve(Protocol):
    @property
    def accuracy(self) -> Sequence[float]: ...
    @property
    def uplink(self) -> Sequence[int]: ...
    @property
    def downlink(self) -> Sequence[int]: ...


def draw(curves: Mapping[str, Sequence[_Curve]]) -> str:
    """Return an SVG: means over seeds, with a band from the least to the most accuracy; bytes on a log axis."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.add_subplot()
        colours = matplotlib.colormaps["tab20"]
        for index, (name, runs) in enumerate(curves.items()):
            sent = np.mean([np.add(run.uplink, run.downlink) for run in runs], axis=0)
            accuracy = np.array([run.accuracy for run in runs])
            colour = colours(index % 20)
            axes.plot(sent, accuracy.mean(axis=0), color=colour, linewidth=1.6, label=name)
            axes.fill_between(sent, accuracy.min(axis=0), accuracy.max(axis=0), color=colour, alpha=0.12, linewidth=0)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0.5)
        axes.set_xlabel("bytes sent in all, both directions")
        axes.set_ylabel("test accuracy")
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
