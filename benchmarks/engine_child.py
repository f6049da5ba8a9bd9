"""One measurement of the engine benchmark in a process of its own; prints one line of JSON."""

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from benchmarks.engine_work import bare_seconds, sgd_step


def main() -> None:
    """Run the engine that ``sys.argv[1]`` describes as JSON, and print what was measured."""
    asked = json.loads(sys.argv[1])
    if asked["one_core"] and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    engine, clients, parameters = asked["engine"], asked["clients"], asked["parameters"]
    if engine == "memory":
        from benchmarks.engine_flower import peak_mebibytes

        result: dict[str, Any] = {"peak_mebibytes": peak_mebibytes(clients, asked["cohort"], parameters, 5)}
    else:
        result = _timed(engine, clients, parameters, asked["rounds"], asked["started"])
    sys.stdout.write("\n" + json.dumps(result) + "\n")


def _timed(engine: str, clients: int, parameters: int, rounds: int, started: float) -> dict[str, Any]:
    run, step = _engine(engine, parameters)
    ahead = time.time() - time.perf_counter()
    ends = run(clients, parameters, rounds)
    seconds = sorted(after - before for before, after in pairwise(ends))
    median = seconds[len(seconds) // 2]
    return {
        "wall_ms": 1e3 * median / clients,
        "bare_ms": 1e3 * bare_seconds(clients, parameters, step) / clients,
        # from the start of the process to the end of a first round, less the time of a round
        "startup_seconds": max(ends[0] + ahead - started - median, 0.0),
    }


def _engine(name: str, parameters: int) -> tuple[Callable[[int, int, int], list[float]], Callable[..., Any]]:
    """Return what runs the rounds, and the step whose bare loop is subtracted."""
    if name == "pfl":
        from benchmarks.engine_pfl import pfl

        return pfl, sgd_step
    if name == "pfl-pytorch":
        from benchmarks.engine_pfl_pytorch import pfl_pytorch, torch_step

        return pfl_pytorch, torch_step(parameters)
    from benchmarks import engine_flower

    if name == "local-2-workers":
        return lambda *sizes: engine_flower.local(*sizes, workers=2), sgd_step
    return {"local": engine_flower.local, "local-fedavg": engine_flower.local_fedavg, "ray": engine_flower.ray}[
        name
    ], sgd_step


if __name__ == "__main__":
    main()
