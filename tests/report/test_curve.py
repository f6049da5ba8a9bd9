import json

import pytest
from pydantic import ValidationError

from fedcomp.report.curve import Curve, curve_plot


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


def curve(**changes):
    tree = {
        "target": "at most 1 points lost",
        "chosen": "half",
        "why": "the fastest",
        "rows": 100,
        "data": "public",
        "batch": 1,
        "threads": 1,
        "rounds": 9,
        "candidates": [point("dense", 1.0, 0.9, True), point("half", 0.5, 0.89, True), point("bad", 0.8, 0.7, False)],
    }
    return Curve.model_validate_json(json.dumps(tree | changes))


def test_the_plot_marks_the_chosen_one_among_all():
    svg = curve_plot(curve())
    assert svg.startswith("<svg")
    assert "chosen" in svg
    assert "best" in svg
    assert "chosen" not in curve_plot(curve(chosen=None))


def test_a_table_shows_the_frontier_fastest_first():
    assert [found.name for found in curve().shown()] == ["half", "dense"]
    assert [found.name for found in curve(chosen="bad").shown()] == ["half", "bad", "dense"]


def test_nothing_is_drawn_of_nothing():
    assert curve_plot(None) is None
    assert curve_plot(curve(candidates=[])) is None


def test_a_damaged_curve_is_refused():
    with pytest.raises(ValidationError):
        curve(rows="many")
