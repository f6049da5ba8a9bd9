"""LocalGrid without workers: the same rules as Flower's engines, in one process."""

import time

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from trivial_clients import app, ask, told

from fedcomp.errors import ConfigError
from fedcomp.flower import LocalGrid
from fedcomp.flower.grid import SERVER_NODE_ID


def test_nodes_are_numbered_from_one_and_know_their_partition():
    with LocalGrid(app, 3, node_config={"place": "here"}, run_config={"lr": 0.5}) as grid:
        assert list(grid.get_node_ids()) == [1, 2, 3]
        answers = [told(reply) for reply in grid.send_and_receive([ask(node) for node in (1, 2, 3)])]
    assert [answer["partition"] for answer in answers] == [0, 1, 2]
    assert {(answer["of"], answer["place"], answer["lr"]) for answer in answers} == {(3, "here", 0.5)}


@pytest.mark.parametrize("num_clients", [0, -1])
def test_no_clients_is_refused(num_clients):
    with pytest.raises(ValueError, match=f"num_clients must be at least 1, got {num_clients}"):
        LocalGrid(app, num_clients)


def test_a_reference_to_no_client_app_is_refused():
    for reference in ("trivial_clients:nothing", "no_such_module:app", "trivial_clients:not_an_app", "trivial_clients"):
        with pytest.raises(ConfigError, match="client app: expected"):
            LocalGrid(reference, 1)


def test_replies_are_complete_and_belong_to_their_messages():
    with LocalGrid(app, 20) as grid:
        ids = grid.push_messages([ask(node) for node in range(1, 21)])
        assert len(set(ids)) == 20
        missing = dict(zip(ids, range(1, 21), strict=True))
        while missing:
            for reply in grid.pull_messages(list(missing)):
                assert missing.pop(reply.metadata.reply_to_message_id) == told(reply)["node"]
                assert reply.metadata.dst_node_id == SERVER_NODE_ID
                assert reply.metadata.src_node_id == told(reply)["node"]
        assert grid.pull_messages(ids) == []


def test_replies_are_made_as_they_are_pulled(tmp_path):
    with LocalGrid(app, 2) as grid:
        first, second = grid.push_messages([ask(1, mark=str(tmp_path / "1")), ask(2, mark=str(tmp_path / "2"))])
        assert not list(tmp_path.iterdir())
        (reply,) = grid.pull_messages([second, first])
        assert told(reply)["node"] == 2
        assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_a_foreign_node_is_refused_before_anything_is_sent():
    with LocalGrid(app, 3) as grid:
        for node in (0, 4, SERVER_NODE_ID):
            with pytest.raises(ValueError, match=f"node {node} is not one of the 3 clients"):
                grid.push_messages([ask(1, remember=True), ask(node)])
        (reply,) = grid.send_and_receive([ask(1, remember=True)])
        assert told(reply)["messages"] == 1


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"do": "fail"}, "RuntimeError: this client cannot train"),
        ({"do": "exit"}, "SystemExit: 3"),
        ({"do": "return nothing"}, "expected the client to return a Message, got NoneType"),
        ({"do": "return the message"}, "expected a reply to the message"),
    ],
)
def test_a_client_that_fails_gets_an_error_reply_and_the_round_goes_on(asked, reason):
    with LocalGrid(app, 3) as grid:
        first, failed, last = grid.send_and_receive([ask(1), ask(2, **asked), ask(3)])
    assert failed.has_error()
    assert reason in failed.error.reason
    assert failed.metadata.src_node_id == 2
    assert not first.has_error()
    assert not last.has_error()


def test_state_persists_for_each_node_and_a_node_that_keeps_nothing_costs_nothing():
    with LocalGrid(app, 1000) as grid:
        for expected in (1, 2, 3):
            one, two = grid.send_and_receive([ask(1, remember=True), ask(2)])
            assert (told(one)["messages"], told(two)["messages"]) == (expected, 1)
        assert list(grid._states) == [1]
        grid.send_and_receive([ask(1, forget=True)])
        assert not grid._states


def test_a_client_that_fails_keeps_the_state_it_had():
    with LocalGrid(app, 1) as grid:
        grid.send_and_receive([ask(1, remember=True)])
        (failed,) = grid.send_and_receive([ask(1, remember=True, do="fail")])
        (reply,) = grid.send_and_receive([ask(1, remember=True)])
    assert failed.has_error()
    assert told(reply)["messages"] == 2


def test_what_one_client_does_to_its_message_reaches_no_other():
    """Flower's strategies put one and the same record into the messages to all clients."""
    content = ask(1, do="interfere").content
    with LocalGrid(app, 2, run_config={"lr": 0.5}) as grid:
        one, two = grid.send_and_receive([Message(content, node, "train") for node in (1, 2)])
        (again,) = grid.send_and_receive([ask(1)])
    assert not one.has_error()
    assert not two.has_error()
    assert two.content["arrays"]["w"].numpy().sum() == 0  # it interfered with its own copy alone
    assert content["asked"]["do"] == "interfere"
    assert content["arrays"]["w"].numpy().sum() == 6
    assert told(again)["lr"] == 0.5


def test_what_the_server_changes_after_a_push_does_not_travel():
    """FedAvg writes the round's number into the same config for every round."""
    message = ask(1)
    with LocalGrid(app, 1) as grid:
        ids = grid.push_messages([message])
        message.content["asked"]["do"] = "fail"
        (reply,) = grid.pull_messages(ids)
    assert not reply.has_error()


def test_a_timeout_returns_the_replies_that_came_and_forgets_the_rest():
    with LocalGrid(app, 3) as grid:
        slow = [ask(node, do="sleep", seconds=0.2, remember=True) for node in (1, 2, 3)]
        replies = grid.send_and_receive(slow, timeout=0.1)
        assert [told(reply)["node"] for reply in replies] == [1]
        replies = grid.send_and_receive([ask(node, remember=True) for node in (1, 2, 3)])
    assert [told(reply)["messages"] for reply in replies] == [2, 1, 1]


def test_a_message_past_its_time_to_live_is_dropped_at_the_next_push():
    late = ask(1)
    late.metadata.ttl = 0.05
    with LocalGrid(app, 1) as grid:
        (late_id,) = grid.push_messages([late])
        time.sleep(0.1)
        (fresh_id,) = grid.push_messages([ask(1)])
        assert grid.pull_messages([late_id]) == []
        assert len(grid.pull_messages([late_id, fresh_id])) == 1


def test_pulling_what_was_never_pushed_returns_at_once():
    with LocalGrid(app, 1) as grid:
        assert grid.pull_messages(["17", "no such message"]) == []


def test_a_closed_grid_takes_no_messages():
    grid = LocalGrid(app, 1)
    grid.close()
    grid.close()
    with pytest.raises(RuntimeError, match="the grid is closed"):
        grid.push_messages([ask(1)])


def test_flowers_own_strategy_averages_over_it(caplog):
    averaging = ClientApp()

    @averaging.train()
    def train(message, context):
        weights = message.content["arrays"]["w"].numpy() + context.node_id
        records = {"arrays": ArrayRecord({"w": Array(weights)}), "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(records), reply_to=message)

    start = ArrayRecord({"w": Array(np.zeros(2, dtype=np.float64))})
    with LocalGrid(averaging, 4) as grid:
        result = FedAvg(fraction_evaluate=0.0).start(grid, start, num_rounds=3, train_config=ConfigRecord({"lr": 0.1}))
    np.testing.assert_allclose(result.arrays["w"].numpy(), 3 * np.mean([1, 2, 3, 4]))
