"""One run and two runs as rows, with nothing made up for what was not measured."""

import pytest

from fedcomp.report.load import read_summary
from fedcomp.report.tables import Row, comparison_rows, markdown_table, summary_rows


def _by_label(rows):
    return {row.label: row.values for row in rows}


def test_every_figure_of_a_run(sample):
    rows = _by_label(summary_rows(read_summary(sample.summary)))
    assert rows == {
        "Accuracy, global": ("87.83 %",),
        "Accuracy, student": ("85.12 %",),
        "Mode": ("local",),
        "Epsilon spent": ("2.99 at delta 1e-5",),
        "Unit protected": ("example",),
        "Neighbouring relation": ("add or remove one example",),
        "Accountant": ("PLD",),
        "Membership AUC, global": ("0.512",),
        "Membership AUC, student": ("0.506",),
        "TPR at 1 % FPR, global": ("1.23 %",),
        "TPR at 1 % FPR, student": ("1.23 %",),
        "TPR at 0.1 % FPR, global": ("0.12 %",),
        "TPR at 0.1 % FPR, student": ("0.12 %",),
        "Epsilon, lower bound": ("0.07 at 95 % confidence",),
        "Uplink": ("4.00 KB",),
        "Uplink against fp32": ("40.0 times fewer",),
        "Downlink": ("16.0 KB",),
        "Downlink against fp32": ("10.0 times fewer",),
        "Bits per parameter": ("0.8",),
        "Uplink codec": ("topk(density=0.05) | rans",),
        "Downlink codec": ("fp32, not coded",),
        "Payloads refused": ("0",),
        "Parameters, global": ("39,050",),
        "Parameters, student": ("20,490",),
        "Size, global": ("156 KB",),
        "Size, student": ("24.0 KB",),
        "Size, student in ONNX": ("26.1 KB",),
        "Latency, global": ("1.84 ms",),
        "Latency, student": ("0.213 ms",),
        "Training": ("1 min 06 s",),
        "Student": ("41.0 s",),
        "Audit": ("6.0 s",),
        "Total time": ("1 min 53 s",),
        "Peak memory": ("912 MB",),
    }


def test_what_is_absent_is_said_and_is_never_zero(bare):
    rows = _by_label(summary_rows(read_summary(bare.summary)))
    assert rows["Epsilon spent"] == ("none: no privacy is claimed",)
    assert rows["Unit protected"] == ("-",)
    assert rows["Membership AUC, global"] == ("not audited",)
    assert rows["Membership AUC, student"] == ("no student",)
    assert rows["Epsilon, lower bound"] == ("not audited",)
    assert rows["Size, student"] == ("no student",)
    assert rows["Audit"] == ("not audited",)


def test_side_by_side_keeps_the_order(sample, bare):
    rows = _by_label(comparison_rows(read_summary(sample.summary), read_summary(bare.summary)))
    assert rows["Epsilon spent"] == ("2.99 at delta 1e-5", "none: no privacy is claimed")
    assert all(len(values) == 2 for values in rows.values())


def test_markdown_of_two_runs(sample, bare):
    rows = comparison_rows(read_summary(sample.summary), read_summary(bare.summary))
    lines = markdown_table(["", "private", "baseline"], rows).splitlines()
    assert lines[:3] == ["|  | private | baseline |", "| :-- | --: | --: |", "| Accuracy, global | 87.83 % | 87.83 % |"]
    assert len(lines) == 2 + len(rows)
    assert "| Uplink codec | topk(density=0.05) \\| rans | topk(density=0.05) \\| rans |" in lines


def test_markdown_escapes_what_would_break_the_table():
    assert markdown_table(["", "a"], [Row("s", "x|y", ("b\nc\\",))]).splitlines()[2] == "| x\\|y | b c\\\\ |"


def test_markdown_refuses_a_row_of_another_width():
    with pytest.raises(ValueError, match="row 'x': expected 2 values, got 1"):
        markdown_table(["", "a", "b"], [Row("s", "x", ("1",))])
