"""A run that is killed in the middle of a round goes on: nothing is charged twice and nothing is lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from runs import global_model, private, start, tiny

from fedcomp.flower import client
from fedcomp.flower.messages import unpack
from fedcomp.privacy import FileLedger
from fedcomp.run_files import RunDirectory
from fedcomp.simulation import resume
from fedcomp.state import SqliteClientState

# the client app of this program dies by SIGKILL at a given point of a given client's round
PROGRAM = """
import os, signal, sys
from pathlib import Path
import fedcomp.flower.client as client
from fedcomp.simulation import resume

path, place, name, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def armed(function, position):
    def wrapper(*args, **kwargs):
        plan_name = next((a for a in args if isinstance(a, str) and a.startswith("client-")), None)
        owner = next((a.name for a in args if hasattr(a, "ledger")), plan_name)
        if owner == name and number in args:
            if position == "before":
                die()
            result = function(*args, **kwargs)
            die()
        return function(*args, **kwargs)
    return wrapper

if place == "before training":
    client._protected_update = armed(client._protected_update, "before")
elif place == "after the charge":
    client._encode = armed(client._encode, "before")
elif place == "before the reply":
    client._seal = armed(client._seal, "before")
resume(path)
"""


def killed(run: RunDirectory, place: str, client: str, number: int) -> None:
    command = [sys.executable, "-c", PROGRAM, str(run.path), place, client, str(number)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr[-2000:]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "place",
    [pytest.param("before training", marks=SLOW), pytest.param("after the charge", marks=SLOW), "before the reply"],
)
def test_a_kill_in_the_middle_of_a_round_changes_nothing(place, tmp_path):
    whole, broken = start(tiny(), tmp_path / "whole"), start(tiny(), tmp_path / "broken")
    resume(whole.path)
    killed(broken, place, "client-1", 2)
    assert len(broken.metrics()) == 1
    result = resume(broken.path)
    assert result.summary["rounds"] == 3
    assert [row["round"] for row in broken.metrics()] == [1, 2, 3]
    expected = global_model(whole)
    assert all((global_model(broken)[name] == array).all() for name, array in expected.items())


@pytest.mark.parametrize(
    "place",
    [pytest.param("before training", marks=SLOW), "after the charge", pytest.param("before the reply", marks=SLOW)],
)
def test_a_kill_charges_nothing_twice(place, tmp_path):
    run = start(private(), tmp_path / "run")
    killed(run, place, "client-1", 2)
    before = len(FileLedger(run.ledger_path).entries())
    # client 0 was done with round 2; client 1 was charged for it, unless it died before that
    assert before == 3 + 1 + (place != "before training")
    resume(run.path)
    entries = FileLedger(run.ledger_path).entries()
    assert len(entries) == 3 * 3
    assert len({(entry.charge.subject, entry.charge.server_round) for entry in entries}) == 3 * 3


def test_a_kill_between_what_client_and_server_know_is_mended_by_a_whole_model(tmp_path):
    """With a release for each, a client may hold a model that the server, which was killed, does not know of."""
    run = start(tiny(server={"release": "each"}), tmp_path / "run")
    killed(run, "before the reply", "client-1", 2)
    resume(run.path)
    rows = run.metrics()
    assert [(row["survivors"], row["refused"]) for row in rows] == [(3, [])] * 3
    model = 4 * sum(array.size for array in global_model(run).values())
    assert rows[1]["downlink_bytes"] > model > rows[2]["downlink_bytes"]


def test_a_client_that_had_answered_sends_the_same_update_again(tmp_path):
    run = start(private(), tmp_path / "run")
    killed(run, "before the reply", "client-1", 2)
    kept = SqliteClientState(run.path / "clients.sqlite").load("client-1")["reply"]
    seen = []
    original = client._seal

    def spy(memory, reply, name, number, began):
        if (name, number) == ("client-1", 2):
            seen.append(unpack(reply))
        return original(memory, reply, name, number, began)

    client._seal = spy
    try:
        resume(run.path)
    finally:
        client._seal = original
    assert [frame.parts for frame in seen] == [unpack(kept).parts]
    assert set(seen[0].header) == {"head", "ledger"}, "what the server keeps is added when it is sent"


@pytest.mark.slow
def test_a_kill_from_outside_at_any_moment(tmp_path):
    run = start(private(rounds=12), tmp_path / "run")
    command = [sys.executable, "-m", "fedcomp", "resume", str(run.path)]
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        rows, deadline = len(run.metrics()), time.monotonic() + 90
        while len(run.metrics()) < rows + 3 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 0 < len(run.metrics()) < 12
    resume(run.path)
    rows = run.metrics()
    assert [row["round"] for row in rows] == list(range(1, 13))
    entries = FileLedger(run.ledger_path).entries()
    assert len(entries) == 3 * 12
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["uplink_bytes"] == sum(row["uplink_bytes"] for row in rows)
    assert os.path.getsize(run.path / "report.html") > 1000


def test_a_finished_run_is_resumed_to_the_same_end(tmp_path):
    run = start(tiny(), tmp_path / "run")
    first, rows = resume(run.path), run.metrics()
    second = resume(run.path)
    assert run.metrics() == rows
    assert first.summary["accuracy"] == second.summary["accuracy"]
