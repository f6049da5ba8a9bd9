from dataclasses import replace

import pytest

from fedcomp.errors import ConfigError
from fedcomp.export.candidate import Measured
from fedcomp.export.target import DEFAULT, Target, choose, frontier, parse_target


def candidate(name, latency_ms, accuracy, size=1000):
    return Measured(
        name=name,
        recipe=name,
        runtime="onnxruntime",
        number_format="fp32",
        bytes=size,
        latency_ms=latency_ms,
        speed_up=1 / latency_ms,
        eager_speed_up=2 / latency_ms,
        accuracy=accuracy,
        accuracy_loss=100 * (0.9 - accuracy),
        loss_interval=(0.0, 0.0),
        output_error=0.0,
    )


DENSE = candidate("dense", 1.0, 0.9, 4000)
HALF = candidate("half", 0.4, 0.895, 2000)
TINY = candidate("tiny", 0.1, 0.85, 500)
WORSE = candidate("worse", 0.5, 0.88, 3000)
ALL = [DENSE, HALF, TINY, WORSE]


@pytest.mark.parametrize(
    ("texts", "target"),
    [
        ([], DEFAULT),
        (["latency=2ms"], Target(latency_ms=2.0)),
        (["latency=0.5s", "size=300KB"], Target(latency_ms=500.0, bytes=300_000)),
        (["accuracy_loss=0.5", "latency=150us"], Target(latency_ms=0.15, accuracy_loss=0.5)),
        (["size = 2 MB"], Target(bytes=2_000_000)),
    ],
)
def test_a_target_is_read_with_its_units(texts, target):
    assert parse_target(texts) == target


@pytest.mark.parametrize("text", ["speed=3", "latency=fast", "latency=2KB", "size", "accuracy_loss=1%"])
def test_what_is_no_target_is_refused_by_name(text):
    with pytest.raises(ConfigError, match=r"--target: expected latency=2ms, size=300KB or accuracy_loss=1.0"):
        parse_target([text])


def test_the_fastest_that_keeps_the_accuracy_is_chosen():
    assert choose(ALL, Target(accuracy_loss=1.0)).chosen is HALF
    assert choose(ALL, Target(accuracy_loss=10.0)).chosen is TINY
    assert choose(ALL, Target(accuracy_loss=0.0)).chosen is DENSE


def test_a_choice_says_among_how_many_and_allows_for_it():
    found = choose(ALL, Target(accuracy_loss=1.0))
    assert found.candidates == 4
    spread = [replace(each, loss_interval=(-1.0, 2.0)) for each in ALL]
    low, high = choose(spread, Target(accuracy_loss=1.0)).interval
    assert low < -1.0
    assert high > 2.0
    assert choose([replace(DENSE, loss_interval=(-1.0, 2.0))], DEFAULT).interval == pytest.approx((-1.0, 2.0))


def test_made_up_rows_are_called_what_they_are():
    found = choose(ALL, Target(accuracy_loss=1.0), "synthetic")
    assert "keep at most 1 points of disagreement on made-up rows" in found.why
    assert found.why.endswith("agreement with the dense model on made-up rows, which is not accuracy")
    assert "accuracy on" not in found.why
    assert choose(ALL, Target(latency_ms=2.0), "synthetic").why.startswith("the most like the dense model of")
    with pytest.raises(ConfigError, match="points of disagreement"):
        choose(ALL, Target(accuracy_loss=-1.0), "synthetic")


def test_accuracy_alone_can_be_asked_about():
    target = Target(latency_ms=0.2, accuracy_loss=1.0)
    assert target.accurate(HALF)
    assert not target.passed(HALF)
    assert Target(latency_ms=0.2).accurate(TINY)
    spread = replace(HALF, loss_interval=(-0.5, 1.5))
    assert target.accurate(spread)
    assert not target.surely_accurate(spread)
    assert Target(accuracy_loss=1.5).surely_accurate(spread)
    assert Target(latency_ms=0.2).surely_accurate(spread)


def test_without_a_limit_on_accuracy_the_most_accurate_is_chosen():
    found = choose(ALL, Target(latency_ms=0.6))
    assert found.chosen is HALF
    assert "the most accurate of 3 candidates out of 4 that keep latency at most 0.6 ms" in found.why
    assert choose(ALL, Target(bytes=1000)).chosen is TINY


def test_a_target_that_nothing_keeps_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match=r"none of 4 candidates keeps .*the fastest takes 0\.1 ms"):
        choose(ALL, Target(latency_ms=0.01))
    with pytest.raises(ConfigError, match=r"the smallest has 500 bytes, the most accurate loses 0\.00 points"):
        choose(ALL, Target(bytes=100, accuracy_loss=1.0))
    with pytest.raises(ValueError, match="at least one measured candidate"):
        choose([], DEFAULT)


def test_the_frontier_has_what_nothing_beats_in_both():
    assert [found.name for found in frontier(ALL)] == ["tiny", "half", "dense"]
