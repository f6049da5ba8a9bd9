"""The figure of ``benchmarks.bytes_to_accuracy``: accuracy over bytes, up and both ways, one line a codec."""

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
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        up, both = figure.subplots(1, 2, sharey=True)
        colours = matplotlib.colormaps["tab20"]
        for index, (name, runs) in enumerate(curves.items()):
            accuracy = np.array([run.accuracy for run in runs])
            sent = {up: [run.uplink for run in runs], both: [np.add(run.uplink, run.downlink) for run in runs]}
            for axes, sums in sent.items():
                style = {"color": colours(index % 20)}
                places = np.mean(sums, axis=0)
                axes.plot(places, accuracy.mean(axis=0), linewidth=1.6, label=name, **style)
                axes.fill_between(places, accuracy.min(axis=0), accuracy.max(axis=0), alpha=0.12, linewidth=0, **style)
        for axes, what in {up: "bytes sent by clients", both: "bytes sent in all, both directions"}.items():
            axes.set_xscale("log")
            axes.set_ylim(bottom=0.6)
            axes.set_xlabel(what)
            axes.grid(alpha=0.3)
        up.set_ylabel("test accuracy")
        both.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
