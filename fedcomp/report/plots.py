"""The four plots of a run: accuracy, bytes and epsilon per round, and the ROC of the membership attack."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from fedcomp.report import units
from fedcomp.report.canvas import FIRST, INK, MUTED, SECOND, canvas
from fedcomp.report.guarantee import tpr_bound
from fedcomp.report.schema import Audit, RoundRow

_FEW = 40  # up to so many points each gets a marker


def accuracy_plot(rounds: Sequence[RoundRow], student: float | None = None) -> str | None:
    """Return the SVG of accuracy over rounds, with the student's as a line; ``None`` if no round was evaluated."""
    points = [(row.round, row.accuracy) for row in rounds if row.accuracy is not None and math.isfinite(row.accuracy)]
    if not points:
        return None
    with canvas("accuracy") as drawn:
        axes = drawn.axes
        axes.plot(*zip(*points, strict=True), color=FIRST, label="global", **_markers(len(points)))
        if student is not None:
            axes.axhline(student, color=SECOND, linestyle=(0, (4, 2.5)), label="student, at the end")
        axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.3g} %"))
        _rounds_axis(axes, rounds)
        _legend(axes, 2)
    return drawn.svg


def bytes_plot(rounds: Sequence[RoundRow]) -> str | None:
    """Return the SVG of cumulative bytes in both directions beside the same exchange in fp32, on a log axis."""
    if not rounds:
        return None
    # Both fp32 lines often lie on each other: their dashes take turns, so that both colours show.
    series = [
        ("uplink_bytes", "uplink", FIRST, "-"),
        ("uplink_fp32_bytes", "uplink in fp32", FIRST, (0, (3, 3))),
        ("downlink_bytes", "downlink", SECOND, "-"),
        ("downlink_fp32_bytes", "downlink in fp32", SECOND, (3, (3, 3))),
    ]
    numbers = [row.round for row in rounds]
    with canvas("bytes") as drawn:
        axes = drawn.axes
        axes.set_yscale("log")
        for key, label, colour, style in series:
            total = np.cumsum([getattr(row, key) for row in rounds], dtype=np.float64)
            total[total == 0] = np.nan  # nothing sent yet has no place on a log axis
            markers = _markers(len(rounds)) if style == "-" else {}
            axes.plot(numbers, total, color=colour, linestyle=style, label=label, **markers)
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: units.size(y).replace(".00", "").replace(".0", "")))
        _at_least_a_decade(axes)
        _rounds_axis(axes, rounds)
        _legend(axes, 2)
    return drawn.svg


def epsilon_plot(rounds: Sequence[RoundRow], target: float | None = None) -> str | None:
    """Return the SVG of epsilon spent after each round, with the target; ``None`` if no privacy is claimed."""
    points = [(row.round, row.epsilon) for row in rounds if row.epsilon is not None and math.isfinite(row.epsilon)]
    if not points:
        return None
    with canvas("epsilon") as drawn:
        axes = drawn.axes
        axes.plot(
            *zip(*points, strict=True), color=FIRST, label="spent, largest of all clients", **_markers(len(points))
        )
        if target is not None:
            axes.axhline(target, color=INK, linewidth=1.2, linestyle=(0, (4, 2.5)), label=f"target {target:g}")
        axes.set_ylim(0, 1.08 * max([target or 0.0, *(value for _, value in points)]) or 1.0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        _rounds_axis(axes, rounds)
        _legend(axes, 2)
    return drawn.svg


def roc_plot(audit: Audit | None, guarantee: tuple[float, float] | None = None) -> str | None:
    """Return the SVG of the attack's ROC on each model, both axes log, with the diagonal of guessing.

    ``guarantee`` is an (epsilon, delta) for single examples: its region's upper edge is drawn, which no attack may
    cross but by chance. ``None`` if nothing was attacked.
    """
    if audit is None or not audit.attacks:
        return None
    smallest = min(0.01, *(1 / max(1, attack.num_non_members) for attack in audit.attacks.values()))
    grid = np.geomspace(smallest, 1, 120)
    with canvas("roc") as drawn:
        axes = drawn.axes
        axes.set(xscale="log", yscale="log", xlim=(smallest, 1), ylim=(smallest, 1.15))
        for (name, attack), colour in zip(audit.attacks.items(), (FIRST, SECOND), strict=False):
            curve = [(fpr, tpr) for fpr, tpr in attack.roc if fpr > 0 and tpr > 0]
            if curve:
                axes.plot(*zip(*curve, strict=True), color=colour, linewidth=1.6, label=f"{name}, AUC {attack.auc:.3f}")
        axes.plot(grid, grid, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="guessing")
        if guarantee is not None:
            bound = [tpr_bound(float(fpr), *guarantee) for fpr in grid]
            axes.plot(grid, bound, color=INK, linewidth=1.2, linestyle=(0, (4, 2.5)), label="epsilon's limit")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=8))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axes.set_xlabel("wrongly accused (FPR)")
        axes.set_ylabel("recognised (TPR)")
        _legend(axes, 2)
    return drawn.svg


def _markers(points: int) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3.5} if points <= _FEW else {}


def _rounds_axis(axes: Axes, rounds: Sequence[RoundRow]) -> None:
    first, last = rounds[0].round, rounds[-1].round
    margin = max(0.5, 0.02 * (last - first))
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("round")


def _at_least_a_decade(axes: Axes) -> None:
    low, high = axes.get_ylim()
    low = 10 ** math.floor(math.log10(low))
    axes.set_ylim(low, max(high, 10 * low))


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.03), ncols=columns, columnspacing=1.4)
