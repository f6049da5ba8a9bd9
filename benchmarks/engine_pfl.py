"""The benchmark's work on pfl-research's simulated backend with a bare numpy model."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.base import StatefulModel
from pfl.stats import MappedVectorStatistics

from benchmarks.engine_work import LEARNING_RATE, features, sgd_step


class _NumpyModel(StatefulModel):
    """The least that pfl's federated averaging needs of a model."""

    def __init__(self, parameters: int) -> None:
        self.weights = np.zeros(parameters, np.float32)

    def get_parameters(self, placeholders: Any = None) -> Any:
        if placeholders is None:
            return MappedVectorStatistics({"w": self.weights.copy()})
        np.copyto(placeholders["w"], self.weights)
        return placeholders

    def set_parameters(self, w: Any) -> None:
        np.copyto(self.weights, w["w"])

    def get_model_difference(self, other_parameters: Any, clone: bool = False) -> Any:
        return MappedVectorStatistics({"w": self.weights - other_parameters["w"]})

    def apply_model_update(self, statistics: Any) -> Any:
        self.weights += statistics["w"]
        return self, Metrics()

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        return Metrics()

    def save(self, dir_path: str) -> None:
        raise NotImplementedError("the benchmark saves nothing")

    def load(self, dir_path: str) -> None:
        raise NotImplementedError("the benchmark loads nothing")


class _NumpyAveraging(FederatedAveraging):
    def train_one_user(self, initial_model_state: Any, model: Any, user_dataset: Any, central_context: Any) -> Any:
        example, target = user_dataset.raw_data
        model.weights = sgd_step(model.weights, example, target)
        return model.get_model_difference(initial_model_state), Metrics()


class _Clock(TrainingProcessCallback):
    def __init__(self) -> None:
        self.ends: list[float] = []

    def after_central_iteration(self, aggregate_metrics: Any, model: Any, *, central_iteration: int) -> Any:
        self.ends.append(time.perf_counter())
        return False, Metrics()


def pfl(clients: int, parameters: int, rounds: int) -> list[float]:
    """Return the ends of rounds; the first entry is the end of a round that is not counted."""
    example = features(parameters)
    return timed_rounds(
        _NumpyAveraging(),
        _NumpyModel(parameters),
        lambda user: Dataset([example, user], user_id=str(user)),
        clients,
        rounds,
    )


def timed_rounds(
    algorithm: Any, model: Any, dataset: Callable[[int], Dataset], clients: int, rounds: int
) -> list[float]:
    """Return the ends of ``rounds + 1`` rounds of an algorithm on the simulated backend."""
    data = FederatedDataset(dataset, get_user_sampler("minimize_reuse", list(range(clients))))
    clock = _Clock()
    algorithm.run(
        NNAlgorithmParams(rounds + 1, rounds + 1, clients, 0),
        SimulatedBackend(data, data),
        model,
        NNTrainHyperParams(local_num_epochs=1, local_learning_rate=float(LEARNING_RATE), local_batch_size=None),
        callbacks=[clock],
        send_metrics_to_platform=False,
    )
    return clock.ends
