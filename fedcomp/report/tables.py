"""A run, or two side by side, as rows of text: what the page, the terminal and the README show alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcomp.report import bounds, units
from fedcomp.report.schema import Summary

_NOT_AUDITED = "not audited"
_NO_STUDENT = "no student"
_NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One line of a table: the ``section`` it stands in, what it is about, and one text a run."""

    section: str
    label: str
    values: tuple[str, ...]


def summary_rows(summary: Summary) -> list[Row]:
    """Return every figure of one run: a row has one value."""
    return _rows([summary])


def comparison_rows(first: Summary, second: Summary) -> list[Row]:
    """Return every figure of two runs side by side: a row has two values, in the order of the arguments."""
    return _rows([first, second])


def markdown_table(header: Sequence[str], rows: Iterable[Row]) -> str:
    """Return a Markdown table with one column for labels and one for each value.

    ``header`` has one text more than a row has values. Pipes and line breaks in texts are escaped.

    >>> print(markdown_table(["", "run"], [Row("Quality", "Accuracy", ("87.8 %",))]))
    |  | run |
    | :-- | --: |
    | Accuracy | 87.8 % |

    Raises:
        ValueError: if a row does not have a value for each column.
    """
    lines = [_line(header), _line([":--"] + ["--:"] * (len(header) - 1))]
    for row in rows:
        if len(row.values) != len(header) - 1:
            raise ValueError(f"row {row.label!r}: expected {len(header) - 1} values, got {len(row.values)}")
        lines.append(_line([row.label, *row.values]))
    return "\n".join(lines)


def _chain(stages: Sequence[Mapping[str, Any]]) -> str:
    return " | ".join(_stage(stage) for stage in stages) or "fp32, not coded"


def _stage(stage: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key}={value}" for key, value in stage.items() if key != "id")
    return f"{stage.get('id', '?')}({options})" if options else str(stage.get("id", "?"))


def _rows(runs: Sequence[Summary]) -> list[Row]:
    return [
        Row(section, label, tuple(text(run) for run in runs))
        for section, figures in _FIGURES.items()
        for label, text in figures.items()
    ]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|") for cell in cells) + " |"


def _epsilon(run: Summary) -> str:
    text = bounds.epsilon(run.epsilon.value)
    return text if run.epsilon.value is None else f"{text} at delta {bounds.delta(run.epsilon.delta)}"


def _private(text: Callable[[Summary], str | None]) -> Callable[[Summary], str]:
    """Say nothing about a guarantee that is not there."""
    return lambda run: "-" if run.epsilon.value is None else text(run) or "not stated"


def _leak(key: str, form: Callable[[float], str]) -> dict[str, Callable[[Summary], str]]:
    def of_global(run: Summary) -> str:
        return _maybe(getattr(run.leakage, key), form) if run.leakage else _NOT_AUDITED

    def of_student(run: Summary) -> str:
        if run.student is None:
            return _NO_STUDENT
        student = run.leakage.student if run.leakage else None
        return _maybe(getattr(student, key), form) if student else _NOT_AUDITED

    return {"global": of_global, "student": of_student}


def _lower_bound(run: Summary) -> str:
    if run.leakage is None:
        return _NOT_AUDITED
    text = bounds.epsilon(run.leakage.epsilon_lower_bound, lower_bound=True)
    if run.leakage.confidence is None or run.leakage.epsilon_lower_bound is None:
        return text
    return f"{text} at {100 * run.leakage.confidence:.4g} % confidence"


def _student(key: str, form: Callable[[Any], str]) -> Callable[[Summary], str]:
    return lambda run: _maybe(getattr(run.student, key), form) if run.student else _NO_STUDENT


def _maybe(value: Any, form: Callable[[Any], str], absent: str = _NOT_MEASURED) -> str:
    return absent if value is None else form(value)


def _accuracy(value: float) -> str:
    return units.percent(value, 2)


def _tpr(value: float) -> str:
    return units.percent(value, 2)


def _count(value: float) -> str:
    return f"{value:,}"


def _milliseconds(value: float) -> str:
    return f"{value:.3g} ms"


def _memory(value: float) -> str:
    return units.size(value * 1e6)


_AUC = _leak("membership_auc", "{:.3f}".format)
_TPR_PERCENT = _leak("tpr_at_percent", _tpr)
_TPR_PERMILLE = _leak("tpr_at_permille", _tpr)

_FIGURES: dict[str, dict[str, Callable[[Summary], str]]] = {
    "Quality": {
        "Accuracy, global": lambda run: _accuracy(run.accuracy.global_),
        "Accuracy, student": lambda run: _maybe(run.accuracy.student, _accuracy, _NO_STUDENT),
    },
    "Privacy": {
        "Mode": lambda run: run.mode,
        "Epsilon spent": _epsilon,
        "Unit protected": _private(lambda run: run.epsilon.unit),
        "Neighbouring relation": _private(lambda run: run.epsilon.neighboring_relation),
        "Accountant": _private(lambda run: run.epsilon.accountant),
    },
    "Leakage": {
        "Membership AUC, global": _AUC["global"],
        "Membership AUC, student": _AUC["student"],
        "TPR at 1 % FPR, global": _TPR_PERCENT["global"],
        "TPR at 1 % FPR, student": _TPR_PERCENT["student"],
        "TPR at 0.1 % FPR, global": _TPR_PERMILLE["global"],
        "TPR at 0.1 % FPR, student": _TPR_PERMILLE["student"],
        "Epsilon, lower bound": _lower_bound,
    },
    "Communication": {
        "Uplink": lambda run: units.size(run.uplink_bytes),
        "Uplink against fp32": lambda run: _maybe(run.uplink_compression, units.times),
        "Downlink": lambda run: units.size(run.downlink_bytes),
        "Downlink against fp32": lambda run: _maybe(run.downlink_compression, units.times),
        "Bits per parameter": lambda run: _maybe(run.bits_per_parameter, "{:.3g}".format),
        "Uplink codec": lambda run: _chain(run.uplink),
        "Downlink codec": lambda run: _chain(run.downlink),
        "Payloads refused": lambda run: _count(run.refused),
    },
    "Models": {
        "Parameters, global": lambda run: _count(run.model.parameters),
        "Parameters, student": _student("parameters", _count),
        "Size, global": lambda run: units.size(run.model.bytes),
        "Size, student": _student("bytes", units.size),
        "Size, student in ONNX": _student("onnx_bytes", units.size),
        "Latency, global": lambda run: _maybe(run.model.latency_ms, _milliseconds),
        "Latency, student": _student("latency_ms", _milliseconds),
    },
    "Cost": {
        "Training": lambda run: _maybe(run.seconds.training, units.duration),
        "Student": lambda run: _maybe(run.seconds.student, units.duration, _NO_STUDENT),
        "Audit": lambda run: _maybe(run.seconds.audit, units.duration, _NOT_AUDITED),
        "Total time": lambda run: units.duration(run.seconds.total),
        "Peak memory": lambda run: _maybe(run.peak_memory_mb, _memory),
    },
}
