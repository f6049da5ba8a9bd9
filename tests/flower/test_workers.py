"""LocalGrid with worker processes: the same results, and what becomes of a worker that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from trivial_clients import app, ask, told

from fedcomp.flower import LocalGrid

APP = "trivial_clients:app"


@pytest.fixture(scope="module")
def grid():
    with LocalGrid("trivial_clients:make_app", 8, node_config={"place": "here"}, workers=2) as grid:
        yield grid


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and was not waited for yet does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_app_that_cannot_cross_a_process_is_refused():
    for wrong in (app, "__main__:app"):
        with pytest.raises(ValueError, match="app must be 'module:name' of a module that workers can import"):
            LocalGrid(wrong, 2, workers=1)
    with pytest.raises(ValueError, match="workers must be at least 0, got -1"):
        LocalGrid(APP, 2, workers=-1)


def test_the_number_of_workers_changes_no_result(grid):
    def rounds(some_grid):
        seen = []
        for _ in range(2):
            replies = some_grid.send_and_receive([ask(node, remember=True) for node in range(1, 9)])
            by_node = {told(reply)["node"]: reply for reply in replies}
            seen += [
                (node, by_node[node].content["arrays"]["w"].numpy().tobytes(), told(by_node[node])["messages"])
                for node in range(1, 9)
            ]
        return seen

    with LocalGrid(APP, 8) as alone, LocalGrid(APP, 8, workers=1) as single:
        expected = rounds(alone)
        assert rounds(single) == expected
        with LocalGrid(APP, 8, workers=2) as double:
            assert rounds(double) == expected


def test_messages_are_shared_out_among_processes(grid):
    replies = grid.send_and_receive([ask(node, do="sleep", seconds=0.1) for node in range(1, 9)])
    processes = {told(reply)["process"] for reply in replies}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {told(reply)["place"] for reply in replies} == {"here"}


def test_one_client_is_never_in_two_workers_at_once(grid):
    replies = grid.send_and_receive([ask(3, remember=True, do="sleep", seconds=0.05) for _ in range(4)])
    assert [told(reply)["messages"] for reply in replies] == [1, 2, 3, 4]


def test_state_with_arrays_persists_across_workers(grid):
    for expected in (1, 2):
        (reply,) = grid.send_and_receive([ask(5, remember=True)])
        assert told(reply)["messages"] == expected
    assert grid._states[5]["model"]["w"].numpy().tolist() == [0, 1, 2, 3]


def test_a_client_that_fails_costs_neither_the_worker_nor_the_state(grid):
    grid.send_and_receive([ask(6, remember=True)])
    before = {worker.process.pid for worker in grid._pool._workers}
    (failed,) = grid.send_and_receive([ask(6, remember=True, do="fail")])
    (left,) = grid.send_and_receive([ask(6, do="exit")])
    (reply,) = grid.send_and_receive([ask(6, remember=True)])
    assert failed.error.reason == "RuntimeError: this client cannot train"
    assert left.error.reason == "SystemExit: 3"
    assert told(reply)["messages"] == 2
    assert {worker.process.pid for worker in grid._pool._workers} == before


def test_a_worker_killed_in_the_middle_costs_one_message_and_is_replaced(grid):
    replies = grid.send_and_receive([ask(1, do="kill"), *(ask(node) for node in range(2, 9))])
    failed = [reply for reply in replies if reply.has_error()]
    assert len(replies) == 8
    assert [reply.metadata.src_node_id for reply in failed] == [1]
    assert failed[0].error.reason == "the worker process ended with exit code -9"
    replies = grid.send_and_receive([ask(node, do="sleep", seconds=0.1) for node in range(1, 9)])
    assert not any(reply.has_error() for reply in replies)
    assert len({told(reply)["process"] for reply in replies}) == 2


def test_a_worker_that_died_idle_costs_nothing(grid):
    for worker in grid._pool._workers:
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
    replies = grid.send_and_receive([ask(node) for node in range(1, 9)])
    assert not any(reply.has_error() for reply in replies)


def test_a_timeout_is_kept_while_a_worker_is_busy_and_its_late_reply_is_not_taken_for_another(grid):
    started = time.monotonic()
    replies = grid.send_and_receive([ask(1), ask(2, do="sleep", seconds=30.0)], timeout=1.0)
    assert time.monotonic() - started < 10
    assert [told(reply)["node"] for reply in replies] == [1]
    replies = grid.send_and_receive([ask(node) for node in (1, 2, 3)])
    assert sorted(told(reply)["node"] for reply in replies) == [1, 2, 3]


def test_a_pull_returns_while_a_worker_is_busy(grid):
    message = ask(2, do="sleep", seconds=30.0)
    message.metadata.ttl = 0.5
    ids = grid.push_messages([message])
    started = time.monotonic()
    assert grid.pull_messages(ids) == []
    assert time.monotonic() - started < 10
    fresh = grid.push_messages([ask(2)])  # ends the worker that holds the expired message
    replies = []
    while not replies:
        replies = grid.pull_messages(fresh)
    assert told(replies[0])["node"] == 2


def test_a_reply_that_nobody_asked_for_yet_waits(grid):
    first, second = grid.push_messages([ask(1, do="sleep", seconds=0.3), ask(2)])
    (reply,) = grid.pull_messages([first])
    assert told(reply)["node"] == 1
    (reply,) = grid.pull_messages([second])
    assert told(reply)["node"] == 2


def test_close_ends_the_processes():
    grid = LocalGrid(APP, 4, workers=2)
    grid.push_messages([ask(node, do="sleep", seconds=30.0) for node in (1, 2)])
    processes = [worker.process.pid for worker in grid._pool._workers]
    assert all(alive(process) for process in processes)
    grid.close()
    grid.close()
    assert not any(alive(process) for process in processes)


def test_workers_end_with_a_server_that_is_killed(tmp_path):
    """A script without a main guard, killed while its clients train: it must not run twice, and leave nobody behind."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, time\n"
        "from fedcomp.flower import LocalGrid\n"
        "from trivial_clients import ask\n"
        "grid = LocalGrid('trivial_clients:app', 2, workers=2)\n"
        "grid.push_messages([ask(n, do='sleep', seconds=60.0, mark=sys.argv[1]) for n in (1, 2)])\n"
        "sys.stdout.write(' '.join(str(w.process.pid) for w in grid._pool._workers) + '\\n')\n"
        "sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    server = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "mark")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        processes = [int(word) for word in server.stdout.readline().split()]
        assert len(processes) == 2
        assert all(alive(process) for process in processes)
    finally:
        server.kill()
        rest, _ = server.communicate()
    assert rest == ""
    wait_until(lambda: not any(alive(process) for process in processes))
