"""The benchmark's work on Flower engines: LocalGrid in this process or with workers, and Flower's Ray simulation."""

import logging
import time
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.engine_work import client_app, features, run_rounds, sgd_step
from fedcomp.flower import LocalGrid
from fedcomp.memory import peak_memory_mb

APP = "benchmarks.engine_work:client_app"


def local(clients: int, parameters: int, rounds: int, workers: int = 0) -> list[float]:
    """Return the ends of rounds on a LocalGrid; the first entry is the start of the first."""
    with LocalGrid(APP, clients, workers=workers) as grid:
        run_rounds(grid, [list(grid.get_node_ids())], parameters)
        return [time.perf_counter(), *run_rounds(grid, [list(grid.get_node_ids())] * rounds, parameters)]


def local_fedavg(clients: int, parameters: int, rounds: int) -> list[float]:
    """The same on a LocalGrid with Flower's own FedAvg and its own arrays (``np.save`` both ways)."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    app, example, ends = ClientApp(), features(parameters), []

    @app.train()
    def train(message: Message, context: Context) -> Message:
        weights = message.content["arrays"]["w"].numpy()
        stepped = sgd_step(weights, example, int(context.node_config["partition-id"]))
        arrays = ArrayRecord({"w": Array(stepped)})
        return Message(
            RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}),
            reply_to=message,
        )

    start = ArrayRecord({"w": Array(np.zeros(parameters, np.float32))})
    with LocalGrid(app, clients) as grid:
        strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1)
        strategy.start(
            grid, start, num_rounds=rounds + 1, evaluate_fn=lambda number, arrays: ends.append(time.perf_counter())
        )
    return ends[1:]


def ray(clients: int, parameters: int, rounds: int) -> list[float]:
    """The same app on Flower's Ray simulation with one actor, beside the process of the server."""
    from flwr.simulation import run_simulation

    logging.getLogger("flwr").setLevel(logging.ERROR)
    server, ends = ServerApp(), []

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        while len(nodes := list(grid.get_node_ids())) < clients:
            time.sleep(0.01)
        ends.extend(run_rounds(grid, [nodes] * (rounds + 1), parameters))

    one_actor: Any = {"client_resources": {"num_cpus": 1, "num_gpus": 0}, "init_args": {"num_cpus": 1}}
    run_simulation(server, client_app(), num_supernodes=clients, backend_config=one_actor)
    return ends


def peak_mebibytes(registered: int, cohort: int, parameters: int, rounds: int) -> float:
    """Return the peak resident memory of this process after rounds with a few of many registered clients."""
    draw = np.random.default_rng(0)
    with LocalGrid(APP, registered) as grid:
        cohorts = [(draw.choice(registered, cohort, replace=False) + 1).tolist() for _ in range(rounds)]
        run_rounds(grid, cohorts, parameters)
    return peak_memory_mb()
