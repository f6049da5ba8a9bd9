"""The engine benchmark runs, and what it says about memory holds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_benchmark_runs_and_memory_does_not_grow_with_registered_clients():
    sizes = ["--clients", "10", "--parameters", "100000", "--rounds", "3", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.engine", *sizes, "--engines", "local", "local-fedavg", "--json"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    for engine in ("local", "local-fedavg"):
        row = measured["engines"][engine]
        assert row["wall_ms"]["median"] > row["bare_ms"]["median"] > 0
    few, many = measured["peak_mebibytes"]["100"], measured["peak_mebibytes"]["10000"]
    assert many - few < 5, f"{few} MiB with 100 registered clients, {many} MiB with 10,000"
