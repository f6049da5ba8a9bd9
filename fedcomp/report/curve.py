"""The trade-off of small models: how fast and how accurate every candidate of an export is, and which was chosen."""

from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from pydantic import Field

from fedcomp.report import units
from fedcomp.report.canvas import FIRST, INK, MUTED, SECOND, canvas
from fedcomp.report.schema import Record


class CurvePoint(Record):
    """One candidate; ``best`` if no other is both faster and more accurate."""

    name: str
    recipe: str
    runtime: str
    number_format: str
    bytes: int = Field(ge=1, lt=2**63)
    latency_ms: float = Field(gt=0)
    speed_up: float = Field(gt=0)
    eager_speed_up: float = Field(gt=0)
    accuracy: float = Field(ge=0, le=1)
    accuracy_loss: float
    loss_interval: tuple[float, float]
    best: bool


class Curve(Record):
    """``curve.json``: every candidate that was measured, what was asked for, and what came of it."""

    target: str
    chosen: str | None
    why: str | None
    rows: int = Field(ge=1)
    data: str
    batch: int = Field(ge=1)
    threads: int = Field(ge=1)
    rounds: int = Field(ge=1)
    candidates: tuple[CurvePoint, ...]

    def shown(self) -> tuple[CurvePoint, ...]:
        """Return what a table shows: the candidates on the frontier and the chosen one, fastest first."""
        kept = [point for point in self.candidates if point.best or point.name == self.chosen]
        return tuple(sorted(kept, key=lambda point: point.latency_ms))


def curve_plot(curve: Curve | None) -> str | None:
    """Return the SVG of accuracy over latency, the frontier as a line, the chosen one marked; None without one."""
    if curve is None or not curve.candidates:
        return None
    front = sorted((point.latency_ms, point.accuracy) for point in curve.candidates if point.best)
    with canvas("curve") as drawn:
        axes = drawn.axes
        axes.set_xscale("log")
        every = [(point.latency_ms, point.accuracy) for point in curve.candidates]
        axes.plot(*zip(*every, strict=True), color=MUTED, linestyle="", marker="o", markersize=3, label="candidates")
        axes.plot(*zip(*front, strict=True), color=FIRST, marker="o", markersize=3.5, label="best")
        for point in curve.candidates:
            if point.name == curve.chosen:
                axes.plot(
                    [point.latency_ms], [point.accuracy], color=SECOND, linestyle="", marker="D", markersize=6,
                    markeredgecolor=INK, label="chosen",
                )  # fmt: skip
        axes.xaxis.set_major_locator(LogLocator(numticks=6, subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: units.time(x)))
        axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.3g} %"))
        axes.set_xlabel(f"time of a batch of {curve.batch}")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.03), ncols=3, columnspacing=1.4)
    return drawn.svg
