"""Engine 3: a real SuperLink and two SuperNodes on loopback give the model that LocalGrid gives."""

import json

import pytest
from flower_processes import Processes
from runs import global_model, go, start, tiny
from safetensors.numpy import load_file

from fedcomp.arrays import digest
from fedcomp.crypto import KeyPair

pytestmark = pytest.mark.simulation


def test_two_supernodes_finish_a_run_that_equals_localgrid(processes: Processes, tmp_path):
    local = start(tiny(name="same", rounds=2, clients={"population": 2}), tmp_path / "local")
    go(local)

    processes.start_superlink()
    for index in (0, 1):
        key, state = tmp_path / f"{index}.key", tmp_path / f"state-{index}"
        KeyPair.generate().save(key)
        place = f'state-dir="{state}" key-file="{key}"'
        processes.start_supernode(f"node-{index}", f"partition-id={index} num-partitions=2 {place}")
    printed = processes.flwr_run(f'config="{local.path / "config.toml"}" out="{tmp_path / "out"}"')

    deployed = tmp_path / "out" / "same"
    assert (deployed / "summary.json").exists(), f"{printed}\n{processes.logs()}"
    assert digest(load_file(deployed / "global.safetensors")) == digest(global_model(local))
    there, here = (json.loads((path / "summary.json").read_text()) for path in (deployed, local.path))
    assert there["rounds"] == 2
    assert there["uplink_bytes"] == here["uplink_bytes"]
    assert all(any((tmp_path / f"state-{index}").iterdir()) for index in (0, 1))
    processes.end()
    assert not processes.alive()
