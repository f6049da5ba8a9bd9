"""Plots are valid SVG, the same bytes each time, and show what was measured."""

import re
import sys
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from fedcomp.report import plots
from fedcomp.report.load import load_run


def _all(run):
    return {
        "accuracy": plots.accuracy_plot(run.rounds, run.summary.accuracy.student),
        "bytes": plots.bytes_plot(run.rounds),
        "epsilon": plots.epsilon_plot(run.rounds, run.target_epsilon),
        "roc": plots.roc_plot(run.audit, (2.981, 1e-5)),
    }


def _texts(svg):
    return {"".join(node.itertext()).strip() for node in ET.fromstring(svg).iter("text")}


@pytest.fixture(scope="module")
def run(make_sample, tmp_path_factory):
    return load_run(make_sample().write(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def drawn(run):
    return _all(run)


def test_every_plot_is_labelled(drawn):
    drawn = {name: _texts(svg) for name, svg in drawn.items()}
    assert {"global", "student, at the end", "round"} <= drawn["accuracy"]
    assert {"uplink", "downlink", "uplink in fp32", "downlink in fp32", "10 KB"} <= drawn["bytes"]
    assert {"spent, largest of all clients", "target 3"} <= drawn["epsilon"]
    assert {"global, AUC 0.512", "student, AUC 0.506", "guessing", "epsilon's limit", "1 %"} <= drawn["roc"]


def test_the_same_run_gives_the_same_bytes_whatever_the_user_s_style(run, drawn):
    with matplotlib.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "path"}):
        assert _all(run) == drawn


def test_nothing_global_is_left_behind(run):
    before = dict(matplotlib.rcParams)
    had_pyplot = "matplotlib.pyplot" in sys.modules
    plots.bytes_plot(run.rounds)
    assert dict(matplotlib.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_colours_are_the_page_s_own(drawn):
    for svg in drawn.values():
        assert "var(--first)" in svg
        left = set(re.findall(r"#[0-9a-f]{6}\b", svg))
        assert not left, f"fixed colours that cannot follow light and dark: {left}"


def test_ids_do_not_clash_between_plots(drawn):
    every = [name for svg in drawn.values() for name in re.findall(r'\bid="([^"]+)"', svg)]
    assert every
    assert len(every) == len(set(every))


def test_references_within_a_plot_have_a_target(drawn):
    for svg in drawn.values():
        targets = set(re.findall(r'\bid="([^"]+)"', svg))
        wanted = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
        assert {a or b for a, b in wanted} <= targets


def test_there_is_no_plot_of_what_was_not_measured(bare, tmp_path):
    run = load_run(bare.write(tmp_path))
    assert plots.epsilon_plot(run.rounds, None) is None
    assert plots.roc_plot(run.audit) is None
    assert plots.bytes_plot([]) is None
    assert plots.accuracy_plot([row for row in run.rounds if row.accuracy is None]) is None


@pytest.mark.parametrize("rounds", [1, 300])
def test_short_and_long_runs(make_sample, tmp_path, rounds):
    sample = make_sample(rounds)
    for row in sample.metrics:
        row["accuracy"] = 0.5
    sample.metrics[0]["uplink_bytes"] = 0  # every payload of the first round was lost
    for svg in _all(load_run(sample.write(tmp_path))).values():
        assert ET.fromstring(svg).tag == "svg"


def test_values_that_are_not_finite_are_left_out(make_sample, tmp_path):
    sample = make_sample(4)
    sample.metrics[1]["accuracy"] = float("nan")
    sample.metrics[2]["epsilon"] = float("inf")
    run = load_run(sample.write(tmp_path))
    assert "nan" not in plots.accuracy_plot(run.rounds)
    assert "inf" not in plots.epsilon_plot(run.rounds)


def test_an_attack_without_a_curve_still_has_its_diagonal(sample, tmp_path):
    sample.audit["global"]["roc"] = []
    sample.audit["global"]["num_non_members"] = 0
    del sample.audit["student"]
    assert "guessing" in _texts(plots.roc_plot(load_run(sample.write(tmp_path)).audit))
