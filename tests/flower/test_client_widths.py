"""Runs whose clients have different widths: what they send, what the server makes of it, and what it refuses."""

import numpy as np
import pytest
from flwr.app import Message
from runs import Meddler, global_model, go, private, start, tiny

from fedcomp.arrays import fp32_bytes
from fedcomp.flower import client
from fedcomp.flower.messages import Frame, from_message, pack, to_record, unpack
from fedcomp.plan import make_plan
from fedcomp.privacy import FileLedger

WIDTHS = {"population": 3, "widths": [1.0, 0.5, 0.25]}
FP32 = {"uplink": [], "downlink": [], "envelope": {"enabled": False}}


def sizes_of(config, path, monkeypatch):
    """Return the rows of a run, and the bytes of each client's first payload."""
    found, encode = {}, client._encode

    def spy(plan, protected, name, number, context):
        reply, kept = encode(plan, protected, name, number, context)
        found.setdefault(name, len(unpack(reply).parts[0]))
        return reply, kept

    monkeypatch.setattr(client, "_encode", spy)
    return go(start(config, path)), [found[name] for name in sorted(found)]


def test_a_weak_client_sends_the_bytes_of_its_own_width(tmp_path, monkeypatch):
    config = tiny(rounds=1, evaluate_every=1, clients=WIDTHS, **FP32)
    plan = make_plan(config)
    models = [
        plan.initial_model() if narrow is None else narrow.slices.take(plan.initial_model()) for narrow in plan.narrows
    ]
    rows, sizes = sizes_of(config, tmp_path / "run", monkeypatch)
    expected = [fp32_bytes(model) for model in models]
    assert expected == [4 * 2410, 4 * 1210, 4 * 610]
    assert all(0 <= size - values < 300 for size, values in zip(sizes, expected, strict=True)), (sizes, expected)
    assert rows[0]["uplink_fp32_bytes"] == sum(expected)
    assert sum(sizes) < rows[0]["uplink_bytes"] < sum(sizes) + 1000


def test_what_no_client_has_stays_as_it_was(tmp_path):
    config = tiny(clients={"population": 2, "widths": [0.5, 0.25]}, **FP32)
    plan, run = make_plan(config), start(config, tmp_path / "run")
    rows = go(run)
    assert [row["survivors"] for row in rows] == [2, 2, 2]
    half, initial, final = plan.narrow_of(0).slices, plan.initial_model(), global_model(run)
    for name, array in initial.items():
        held = np.zeros(array.shape, bool)
        held[half.index(name, array)] = True
        assert np.array_equal(final[name][~held], array[~held]), name
        assert not np.array_equal(final[name][held], array[held]), name


def test_clients_of_all_widths_protect_their_examples(tmp_path):
    seen = []

    def look(message, reply, _):
        seen.append(set(unpack(unpack(from_message(reply)).parts[0]).header))
        return reply

    config = private(clients=WIDTHS, envelope={"enabled": False})
    run = start(config, tmp_path / "run")
    rows = go(run, Meddler(look))
    assert [row["survivors"] for row in rows] == [3, 3, 3]
    assert len(FileLedger(run.ledger_path).entries()) == 9
    assert seen == 9 * [{"head", "ledger", "width"}], "the width is the config's, and nothing else is told"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ({"width": 7}, "expected one of 3 entries, got number 7"),
        ({"width": -1}, "expected one of 3 entries, got number -1"),
        ({}, "expected an integer at 'width'"),
    ],
)
def test_a_width_that_is_none_is_refused_by_name_and_the_round_goes_on(header, said, tmp_path):
    def meddle(message, reply, index):
        frame = unpack(from_message(reply))
        inner = unpack(frame.parts[0])
        told = {key: value for key, value in inner.header.items() if key != "width"}
        bad = pack(Frame({**told, **header}, inner.parts))
        return Message(to_record(pack(Frame(frame.header, (bad,)))), reply_to=message) if index == 1 else reply

    rows = go(start(tiny(clients=WIDTHS, **FP32), tmp_path / "run"), Meddler(meddle))
    assert [row["survivors"] for row in rows] == [2, 2, 2]
    assert said in rows[0]["refused"][0]["reason"]


def test_a_narrow_update_that_claims_to_be_whole_is_counted_where_it_has_values(tmp_path):
    """Shapes say which values an update has; what its sender calls it changes nothing but how it is decoded."""

    def meddle(message, reply, index):
        frame = unpack(from_message(reply))
        inner = unpack(frame.parts[0])
        claims = pack(Frame({**inner.header, "width": 0}, inner.parts))
        return Message(to_record(pack(Frame(frame.header, (claims,)))), reply_to=message)

    honest, claiming = (start(tiny(clients=WIDTHS, **FP32), tmp_path / name) for name in ("honest", "claiming"))
    go(honest)
    assert [row["survivors"] for row in go(claiming, Meddler(meddle))] == [3, 3, 3]
    assert all(np.array_equal(array, global_model(claiming)[name]) for name, array in global_model(honest).items())
