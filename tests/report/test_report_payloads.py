"""Bytes after each stage and by layer, with nothing given to a layer that belongs to none."""

import pytest

from fedcomp.report.load import load_run
from fedcomp.report.payloads import payloads


@pytest.fixture
def shown(tmp_path):
    return lambda sample: payloads(load_run(sample.write(tmp_path)))


def _arrays(sizes):
    return [{"array": f"layer.{index}", "values": 10, "bytes": size} for index, size in enumerate(sizes)]


def test_stages_are_set_against_fp32(sample, shown):
    up, down = shown(sample)
    assert [(row.name, row.bytes, row.against_fp32) for row in up.stages] == [
        ("fp32", 4_060, "-"),
        ("topk", 330, "12.3 times fewer"),
        ("rans", 80, "50.8 times fewer"),
    ]
    assert [row.share for row in up.stages] == pytest.approx([1, 330 / 4_060, 80 / 4_060])
    # A stage that makes it a little larger: the longest bar is its own, and 0.99 is not "1.0 times more".
    assert [row.against_fp32 for row in down.stages] == ["-", "the same", "10.2 times fewer"]
    assert [row.share for row in down.stages] == pytest.approx([4_060 / 4_110, 1, 400 / 4_110])


def test_a_layer_has_its_bits_per_value(sample, shown):
    up = shown(sample)[0]
    assert [(row.name, row.values, row.bytes) for row in up.layers] == [
        ("conv.weight", 900, 70.4),
        ("conv.bias", 100, 9.6),
    ]
    assert [row.bits for row in up.layers] == pytest.approx([8 * 70.4 / 900, 8 * 9.6 / 100])
    assert [row.share for row in up.layers] == pytest.approx([1, 9.6 / 70.4])
    assert (up.total.values, up.total.bits) == (1_000, pytest.approx(0.64))


def test_a_layer_without_values_or_bytes_divides_nothing(sample, shown):
    sample.bytes["arrays"] = [{"array": "none", "values": 0, "bytes": 0}]
    up = shown(sample)[0]
    assert [(row.bits, row.share) for row in (*up.layers, up.total)] == [(None, 0), (None, 1)]


def test_a_chain_that_mixes_values_has_no_layers(sample, shown):
    down = shown(sample)[1]
    assert (down.layers, down.total) == ((), None)


def test_no_file_and_no_downlink(sample, bare, shown):
    assert shown(bare) == []
    del sample.bytes["downlink"]
    assert [payload.direction for payload in shown(sample)] == ["Uplink"]


def test_twelve_layers_are_all_shown(sample, shown):
    sample.bytes["arrays"] = _arrays(range(12))
    assert [row.name for row in shown(sample)[0].layers] == [f"layer.{index}" for index in range(12)]


def test_of_more_the_largest_are_shown_in_order_and_the_others_together(sample, shown):
    sample.bytes["arrays"] = _arrays([1, 50, 2, *range(60, 70), 3])
    up = shown(sample)[0]
    assert [row.name for row in up.layers[:-1]] == ["layer.1", *(f"layer.{index}" for index in range(3, 13))]
    others = up.layers[-1]
    assert (others.name, others.values, others.bytes) == ("3 smaller ones", 30, 6)
    assert (up.total.values, up.total.bytes) == (140, 1 + 50 + 2 + sum(range(60, 70)) + 3)


@pytest.mark.parametrize(("whole", "what"), [(True, "whole model"), (False, "newest change of the model")])
def test_it_is_said_which_payload_it_is(sample, shown, whole, what):
    sample.bytes["downlink"]["whole"] = whole
    up, down = shown(sample)
    assert up.about.startswith("One update of round 4, the last, as its client encoded it: the first that arrived")
    assert "Envelope and message headers come on top" in up.about
    assert what in down.about


def test_no_envelope_is_claimed_where_there_is_none(sample, shown):
    sample.config += "[envelope]\nenabled = false\n"
    assert "Envelope" not in shown(sample)[0].about
