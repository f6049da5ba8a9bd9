"""The terminal shows the same figures as the page, and progress where there is no terminal too."""

import io

import pytest
from rich.console import Console

from fedcomp.errors import RunError
from fedcomp.report.console import RoundProgress, bytes_table, comparison_table, summary_table
from fedcomp.report.load import load_run


def _console(terminal=False, width=100):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, legacy_windows=False, color_system=None)


def _printed(renderable, width=100):
    console = _console(width=width)
    console.print(renderable)
    return console.file.getvalue()


def test_summary(sample):
    lines = [" ".join(line.split()) for line in _printed(summary_table(sample.summary)).splitlines()]
    assert lines[0] == "sample"
    assert "Epsilon spent 2.99 at delta 1e-5" in lines
    assert "Uplink against fp32 40.0 times fewer" in lines


def test_comparison_fits_eighty_columns(sample, bare):
    bare.summary["name"] = "baseline"
    text = _printed(comparison_table(sample.summary, bare.summary), width=80)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "Epsilon spent 2.99 at delta 1e-5 none: no privacy is claimed" in " ".join(text.split())
    for label in ("TPR at 0.1 % FPR, student", "Size, student in ONNX"):
        assert label in text


def test_the_wrong_one_of_two_is_named(sample):
    with pytest.raises(RunError, match="second summary: name: expected a value, got none"):
        comparison_table(sample.summary, {key: value for key, value in sample.summary.items() if key != "name"})


def test_names_are_neither_markup_nor_control_sequences(sample):
    sample.summary["name"] = "[/red][bold]x\x1b[2J\x07"
    sample.summary["epsilon"]["accountant"] = "[link=x]PLD[/]"
    text = _printed(summary_table(sample.summary))
    assert "[/red][bold]x" in text
    assert "[link=x]PLD[/]" in text
    assert "\x1b" not in text
    assert "\x07" not in text


def test_bytes_of_a_payload_fit_eighty_columns(sample, tmp_path):
    lines = _printed(bytes_table(load_run(sample.write(tmp_path))), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    shown = [" ".join(line.split()) for line in lines]
    for line in (
        "values bytes bits per value against fp32",
        "topk 330 B 12.3 times fewer",
        "conv.weight 900 70 B 0.63",
        "All 1,000 80 B 0.64",
        "Downlink, after each stage",
    ):
        assert any(line in given for given in shown), line
    text = " ".join(" ".join(shown).split())
    assert "Downlink: No byte of this payload can be given to one layer" in text
    assert "no payload of the downlink" not in text


def test_no_bytes_no_table_and_no_downlink_is_said(sample, bare, tmp_path):
    assert bytes_table(load_run(bare.write(tmp_path / "bare"))) is None
    del sample.bytes["downlink"]
    text = " ".join(_printed(bytes_table(load_run(sample.write(tmp_path / "sample")))).split())
    assert "The run kept no payload of the downlink to break down." in text
    assert "No byte of this payload" not in text


def test_names_of_layers_are_neither_markup_nor_control_sequences(sample, tmp_path):
    sample.bytes["arrays"][0]["array"] = "[/red]x\x1b[2J"
    sample.bytes["stages"][1]["stage"] = "[b]t\x1b[2J"
    text = _printed(bytes_table(load_run(sample.write(tmp_path))))
    assert "[/red]x" in text
    assert "[b]t" in text
    assert "\x1b" not in text


def _plain_lines(rows, rounds, earlier=()):
    console = _console(width=40)
    with RoundProgress(rounds, console, earlier) as progress:
        for row in rows:
            progress.update(row)
    return console.file.getvalue().splitlines()


def test_without_a_terminal_about_every_tenth_is_a_line(make_sample):
    lines = _plain_lines(make_sample(200).metrics, 200)
    assert [int(line.split()[1].split("/")[0]) for line in lines] == [1, *range(20, 201, 20)]


def test_a_short_run_prints_each_round_once(make_sample):
    lines = _plain_lines(make_sample(3).metrics, 3)
    assert [line.split("  ")[0] for line in lines] == ["round 1/3", "round 2/3", "round 3/3"]


def test_a_line_has_totals_and_the_last_measured_accuracy(make_sample):
    line = _plain_lines(make_sample(3).metrics, 3)[-1]
    assert "acc 75.0 %  up 3.00 KB (40.0x)  epsilon 2.99" in line  # round 3 was not evaluated, round 2 was
    assert "elapsed" in line
    assert "left" in line


def test_a_resumed_run_counts_what_was_sent_before(make_sample):
    rows = make_sample(6).metrics
    lines = _plain_lines(rows[4:], 6, earlier=rows[:4])
    assert lines[0].startswith("round 5/6")
    assert "up 5.00 KB" in lines[0]


def test_no_privacy_and_nothing_sent(bare):
    bare.metrics[0]["uplink_bytes"] = 0
    assert "acc -  up 0 B  epsilon none" in _plain_lines(bare.metrics[:1], 4)[0]


def test_a_terminal_shows_a_bar_that_fits(make_sample):
    console = _console(terminal=True, width=80)
    with RoundProgress(4, console) as progress:
        for row in make_sample(4).metrics:
            progress.update(row)
    last = console.file.getvalue().split("\r")[-1].splitlines()[0]
    assert "round 4/4" in last
    assert "acc 82.5 %  up 4.00 KB (40.0x)  epsilon 2.99" in last
    assert "…" not in last


def test_an_error_inside_is_not_swallowed():
    console = _console(terminal=True)
    with pytest.raises(RunError), RoundProgress(4, console):
        raise RunError("stop")
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is back
