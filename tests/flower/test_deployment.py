"""Engine 3: a real SuperLink and two SuperNodes on loopback give the model that LocalGrid gives."""

import json

import pytest
from flower_processes import Processes

from runs import go, start, tiny

pytestmark = pytest.mark.simulation


def test_two_supernodes_finish_a_run_that_equals_localgrid(processes: Processes, tmp_path):
    local = start(tiny(name="same", rounds=2, clients={"population": 2}), tmp_path / "local")
    go(local)

    processes.start_superlink()
    for index in (0, 1):
        state = tmp_path / f"state-{index}"
        processes.start_supernode(f"node-{index}", f'partition-id={index} num-partitions=2 state-dir="{state}"')
    printed = processes.flwr_run(f'config="{local.path / "config.toml"}" out="{tmp_path / "out"}"')

    deployed = tmp_path / "out" / "same"
    assert (deployed / "summary.json").exists(), f"{printed}\n{processes.logs()}"
    assert (deployed / "global.safetensors").read_bytes() == (local.path / "global.safetensors").read_bytes()
    there, here = (json.loads((path / "summary.json").read_text()) for path in (deployed, local.path))
    assert there["rounds"] == 2
    assert there["uplink_bytes"] == here["uplink_bytes"]
    assert (tmp_path / "state-0").is_dir()
    assert (tmp_path / "state-1").is_dir()
    processes.end()
    assert not processes.alive()
