"""The work that every engine does in the benchmark, and the two Flower apps that do it on three of them.

A client takes one step of SGD on a linear model with one example; the server takes the mean of the models that come
back. There is next to nothing to compute, so what is left is the engine.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float32]
LEARNING_RATE = np.float32(0.1)


@functools.cache
def features(parameters: int) -> Weights:
    """Return the one example that all clients share; its targets differ. Drawn once in each process."""
    drawn = np.random.default_rng(0).standard_normal(parameters)
    return np.asarray(drawn / np.sqrt(parameters), dtype=np.float32)


def sgd_step(weights: Weights, example: Weights, target: float) -> Weights:
    """Return the weights after one step on the squared error."""
    return weights - LEARNING_RATE * (weights @ example - np.float32(target)) * example


def bare_seconds(clients: int, parameters: int, step: Callable[..., Any] = sgd_step) -> float:
    """Return the seconds that the step alone takes for all clients of a round: the median of nine loops."""
    example, weights, loops = features(parameters), np.zeros(parameters, np.float32), []
    for _ in range(9):
        started = time.perf_counter()
        for client in range(clients):
            step(weights, example, client)
        loops.append(time.perf_counter() - started)
    return float(np.median(loops))


def client_app() -> Any:
    """Return the ClientApp; weights travel as raw bytes in fedcomp's own message form."""
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp

    from fedcomp.flower.messages import from_message, to_record

    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        weights = np.frombuffer(from_message(message), np.float32)
        stepped = sgd_step(weights, features(weights.size), int(context.node_config["partition-id"]))
        return Message(to_record(stepped.tobytes()), reply_to=message)

    return app


def run_rounds(grid: Any, cohorts: Sequence[Sequence[int]], parameters: int) -> list[float]:
    """Run one round for each cohort of node ids, adding replies up as they come; return each round's end."""
    from flwr.app import Message

    from fedcomp.flower.messages import from_message, to_record

    weights, ends = np.zeros(parameters, np.float32), []
    for nodes in cohorts:
        record = to_record(weights.tobytes())
        missing = set(grid.push_messages([Message(record, node, "train") for node in nodes]))
        total = np.zeros(parameters, np.float32)
        while missing:
            replies = list(grid.pull_messages(missing))
            for reply in replies:
                missing.discard(reply.metadata.reply_to_message_id)
                total += np.frombuffer(from_message(reply), np.float32)
            if not replies:
                time.sleep(0.02)  # LocalGrid's pulls never come empty; Ray is fastest with about this
        weights = total / np.float32(len(nodes))
        ends.append(time.perf_counter())
    return ends
