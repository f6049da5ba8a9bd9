"""The figure of an application: what it shows, and that equal files give equal ones."""

import json
from xml.etree import ElementTree

import matplotlib
import pytest

from benchmarks.application_figures import draw, main
from fedcomp.export.search import BASELINE
from fedcomp.report.curve import Curve


def point(name, latency_ms, accuracy, best):
    return {
        "name": name,
        "recipe": name,
        "runtime": "onnxruntime",
        "number_format": "fp32",
        "bytes": 1000,
        "latency_ms": latency_ms,
        "speed_up": 1.0,
        "eager_speed_up": 2.0,
        "accuracy": accuracy,
        "accuracy_loss": 0.0,
        "loss_interval": [-1.0, 1.0],
        "best": best,
    }


def tree(**changes):
    candidates = [point(BASELINE, 1.0, 0.9, True), point("half", 0.5, 0.89, True), point("bad", 0.8, 0.7, False)]
    facts = {"target": "at most 1 points lost", "chosen": "half", "why": "the fastest", "rows": 100, "data": "public"}
    return json.dumps(facts | {"batch": 16, "threads": 1, "rounds": 9, "candidates": candidates} | changes)


def texts(svg):
    return {element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}


def test_the_figure_names_its_points_and_its_axes():
    shown = texts(draw(Curve.model_validate_json(tree())))
    assert {"3 candidates", "frontier", BASELINE, "chosen: half"} <= shown
    assert {"time of a batch of 16, 1 thread", "accuracy on 100 public rows"} <= shown


def test_what_a_search_did_not_find_is_not_in_the_figure():
    shown = texts(draw(Curve.model_validate_json(tree(chosen=None, candidates=[point("bad", 0.8, 0.7, False)]))))
    assert "1 candidate" in shown
    assert not {"frontier", BASELINE} & shown
    assert not any(text.startswith("chosen") for text in shown)


def test_a_figure_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one candidate, got none"):
        draw(Curve.model_validate_json(tree(candidates=[])))


def test_equal_runs_give_equal_files_whatever_the_users_style(tmp_path):
    (tmp_path / "curve.json").write_text(tree())
    main([str(tmp_path), str(tmp_path / "first.svg")])
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        main([str(tmp_path), str(tmp_path / "second.svg")])
    first = (tmp_path / "first.svg").read_bytes()
    assert first == (tmp_path / "second.svg").read_bytes()
    assert b"dc:date" not in first


@pytest.mark.parametrize(("content", "said"), [(None, "found nothing"), (tree(rows="many"), "rows")])
def test_a_run_without_a_curve_that_can_be_read_is_named(tmp_path, capsys, content, said):
    if content:
        (tmp_path / "curve.json").write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), str(tmp_path / "curve.svg")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "curve.json" in error
    assert said in error
    assert not (tmp_path / "curve.svg").exists()
