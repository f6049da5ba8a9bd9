"""The Task contract: a data set and the models that are trained on it. It knows nothing of federation."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set, in memory or memory-mapped.

    ``inputs``: ``[n, ...]`` float32, float16 (cast to float32 batch by batch) or int64 (tokens), what ``Task.model``
    eats; ``targets``: int64 class numbers ``[n]``, or tokens ``[n, ...]``; ``raw``: ``[n, ...]``, what ``Task.student``
    eats, and the same object as ``inputs`` where the task has no feature transform.

    Raises:
        ValueError: on other dtypes or unequal lengths, naming the field.
    """

    inputs: NDArray[Any]
    targets: NDArray[np.int64]
    raw: NDArray[Any]

    def __post_init__(self) -> None:
        for name in ("inputs", "raw"):
            values = getattr(self, name)
            if values.dtype not in (np.float32, np.float16, np.int64):
                raise ValueError(f"{name} must be float32, float16 or int64, got {values.dtype}")
            if len(values) != len(self.targets):
                raise ValueError(f"{name} must have a row for each of {len(self.targets)} targets, got {len(values)}")
        if self.targets.dtype != np.int64:
            raise ValueError(f"targets must be int64[n, ...], got {self.targets.dtype}{list(self.targets.shape)}")

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, rows: NDArray[np.integer[Any]]) -> "Split":
        """Return the rows of these numbers, in this order, copied into memory."""
        inputs = np.asarray(self.inputs[rows])
        raw = inputs if self.raw is self.inputs else np.asarray(self.raw[rows])
        return Split(inputs, np.asarray(self.targets[rows]), raw)


class Task(ABC):
    """A data set, the model that is federated, and the student that it is distilled into.

    Guarantee: two tasks loaded by one name hold equal rows in equal
    order; initial weights depend on the seed alone; torch's global generator is left as it was.

    A new task implements the five members without a default. ``network`` must pass Opacus' validator (no BatchNorm).
    """

    name: str
    num_classes: int
    padding: int = 0
    """Of targets that are sequences: the token that stands where there is none, and counts for nothing."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Return a new model; weights come from torch's global generator, as in any PyTorch program."""

    @abstractmethod
    def train(self) -> Split:
        """Return the training rows."""

    @abstractmethod
    def test(self) -> Split:
        """Return the test rows."""

    def student_network(self) -> nn.Module:
        """Return a new small model over ``Split.raw``; the same architecture as ``network`` unless overridden."""
        return self.network()

    def model(self, seed: int) -> nn.Module:
        """Return the model that is federated, with the initial weights that belong to ``seed``."""
        return _seeded(self.network, seed)

    def student(self, seed: int) -> nn.Module:
        """Return the student that the global model is distilled into, with the initial weights of ``seed``."""
        return _seeded(self.student_network, seed)

    def features(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the ``inputs`` that belong to ``raw`` rows: the identity where there is no feature transform."""
        return raw

    def groups(self) -> NDArray[np.int64] | None:
        """Return the natural client of each training row, ``[n]``, or None where the data has none."""
        return None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each example, ``[n]``: cross-entropy of ``outputs [n, num_classes]``."""
        return functional.cross_entropy(outputs, targets, reduction="none")

    def metric(self, outputs: Tensor, targets: Tensor) -> float:
        """Return the share of examples, in [0, 1], whose largest output is their target's."""
        return float((outputs.argmax(dim=1) == targets).double().mean())

    def dataset_id(self) -> str:
        """Return a name and digest of the rows, for ledgers: tasks over the same rows return the same one."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        train = self.train()  # a pass over all rows, asked for in every private round
        return f"{self.name}:{rows_digest(train.raw, train.targets)}"


@dataclass(frozen=True, eq=False)
class ArrayTask(Task):
    """A task over arrays in memory: the short way to bring one's own data and model.

    ``training`` and ``testing`` are pairs of inputs ``[n, ...]`` and class numbers ``[n]``; ``make_model`` (and
    ``make_student``, if it is to differ) return a fresh ``nn.Module``; ``natural_clients`` says for each training row
    who holds it.

    Raises:
        ValueError: for rows that do not fit, naming the field, what was expected and what came.
    """

    name: str
    num_classes: int
    training: tuple[NDArray[Any], NDArray[Any]]
    testing: tuple[NDArray[Any], NDArray[Any]]
    make_model: Callable[[], nn.Module]
    make_student: Callable[[], nn.Module] | None = None
    natural_clients: NDArray[Any] | None = None
    _splits: tuple[Split, Split] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        splits = self._split("training", self.training), self._split("testing", self.testing)
        object.__setattr__(self, "_splits", splits)
        if self.natural_clients is not None and len(self.natural_clients) != len(splits[0]):
            raise ValueError(
                f"natural_clients must have a value for each of {len(splits[0])} training rows, "
                f"got {len(self.natural_clients)}"
            )

    def network(self) -> nn.Module:
        """Return a new model; see ``Task.network``."""
        return self.make_model()

    def student_network(self) -> nn.Module:
        """Return a new student; see ``Task.student_network``."""
        return (self.make_student or self.make_model)()

    def train(self) -> Split:
        """Return the training rows."""
        return self._splits[0]

    def test(self) -> Split:
        """Return the test rows."""
        return self._splits[1]

    def groups(self) -> NDArray[np.int64] | None:
        """Return the natural client of each training row, numbered from 0 in sorted order, or None."""
        if self.natural_clients is None:
            return None
        return np.unique(self.natural_clients, return_inverse=True)[1].astype(np.int64)

    def _split(self, name: str, rows: tuple[NDArray[Any], NDArray[Any]]) -> Split:
        inputs, targets = np.asarray(rows[0], dtype=np.float32), np.asarray(rows[1])
        if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer) or len(targets) == 0:
            raise ValueError(f"{name} targets must be whole numbers [n], got {targets.dtype}{list(targets.shape)}")
        if targets.min() < 0 or targets.max() >= self.num_classes:
            raise ValueError(
                f"{name} targets must be in 0..{self.num_classes - 1}, got {targets.min()}..{targets.max()}"
            )
        if not np.isfinite(inputs).all():
            raise ValueError(f"{name} inputs must be finite, got NaN or infinity")
        return Split(inputs, targets.astype(np.int64), inputs)


def model_rows(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows as a module takes them: numbers as float32, tokens as int64."""
    return np.asarray(rows, np.float32 if np.issubdtype(rows.dtype, np.floating) else np.int64)


def rows_digest(inputs: NDArray[Any], targets: NDArray[Any]) -> str:
    """Return 16 hex digits of a SHA-256 over shapes, dtypes and values of the rows."""
    state = hashlib.sha256()
    for array in (inputs, targets):
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        state.update(f"{array.dtype.name}{array.shape}".encode())
        state.update(little.data)
    return state.hexdigest()[:16]


def _seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()
