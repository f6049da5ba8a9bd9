"""Engine 2: Flower's own simulation on Ray, by ``flwr run``, gives the model that LocalGrid gives."""

import importlib.util

import pytest
from flower_processes import Processes
from runs import global_model, go, start, tiny
from safetensors.numpy import load_file

from fedcomp.arrays import digest

pytestmark = [
    pytest.mark.simulation,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra: pip install 'fedcomp[ray]'"),
]


@pytest.mark.slow
def test_flwr_run_on_ray_finishes_a_run_that_equals_localgrid(processes: Processes, tmp_path):
    local = start(tiny(name="same", rounds=2, clients={"population": 2}), tmp_path / "local")
    go(local)

    processes.start_superlink("--simulation")
    places = f'config="{local.path / "config.toml"}" out="{tmp_path / "out"}" state-dir="{tmp_path / "out" / "same"}"'
    printed = processes.flwr_run(places, "--federation-config", "num-supernodes=2")

    simulated = tmp_path / "out" / "same"
    assert (simulated / "summary.json").exists(), f"{printed}\n{processes.logs()}"
    assert digest(load_file(simulated / "global.safetensors")) == digest(global_model(local))
    assert (simulated / "clients.sqlite").exists()
    processes.end()
    assert not processes.alive()
