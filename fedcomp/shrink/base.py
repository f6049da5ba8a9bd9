"""The Step contract: one way to make a released model smaller, and what data that reads.

A step that reads nothing, public rows or made-up rows is post-processing of released state: the ledger's epsilon
stands. A step that reads private rows is refused under a private mode, unless what it reads was released by an
accounted mechanism, which it then names.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fedcomp.errors import ConfigError, FedcompError

DataTouched = Literal["none", "public", "synthetic", "private"]
"""What rows a step reads."""
Loss = Callable[[Tensor, Tensor], Tensor]


class ShrinkError(FedcompError):
    """A model that a step cannot make smaller."""


@dataclass(frozen=True, eq=False)
class Material:
    """What steps may read beside the model.

    ``inputs [n, ...]`` are rows that the module eats and ``targets`` their answers, None where nobody labelled them;
    ``data`` says whose rows they are. ``teacher`` answers for the dense model: logits of rows; ``loss`` is the task's,
    one value an example.
    """

    inputs: NDArray[Any]
    targets: NDArray[np.int64] | None
    data: DataTouched
    loss: Loss
    teacher: nn.Module | None = None


@dataclass(frozen=True)
class Step(ABC):
    """One way to make a model smaller; its fields are its options, JSON values.

    Guarantee: ``apply`` returns a new module in eval mode and leaves the one that it gets as it came; the same module,
    material and generator give the same result on one thread; torch's global generator is left as it was.
    """

    id: ClassVar[str]
    reads: ClassVar[bool]
    """Whether rows are read at all. A step that reads none touches no data, whatever it is offered."""

    @abstractmethod
    def apply(self, module: nn.Module, material: Material, rng: np.random.Generator) -> nn.Module:
        """Return the smaller module.

        Raises:
            ShrinkError: if the module has nothing that this step can make smaller, or it cannot be done.
        """

    def touches(self, material: Material) -> DataTouched:
        """Return what data this step reads when it is given this material."""
        return material.data if self.reads else "none"

    def config(self) -> dict[str, Any]:
        """Return the step as a JSON object with its ``id``; ``step_from_config`` turns it back."""
        return {"id": self.id, **{field.name: getattr(self, field.name) for field in fields(self)}}


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A smaller module, and what each step that made it read: ``(config, data)`` in order."""

    module: nn.Module
    steps: tuple[tuple[Mapping[str, Any], DataTouched], ...]


def shrink(
    module: nn.Module, steps: Sequence[Step], material: Material, rng: np.random.Generator, *, private: bool
) -> Shrunk:
    """Return ``module`` after all ``steps``; with ``private``, private rows are refused before anything is done.

    Raises:
        ConfigError: naming the first step that would read private rows under a private mode.
        ShrinkError: from a step.
    """
    for step in steps:
        if private:
            admit(step.id, step.touches(material))
    smaller, records = copy.deepcopy(module).eval(), []
    for step in steps:
        smaller = step.apply(smaller, material, rng)
        records.append((step.config(), step.touches(material)))
    return Shrunk(smaller, tuple(records))


def admit(name: str, touched: DataTouched) -> None:
    """Refuse what would read private rows outside of any accounted mechanism; for use under a private mode.

    Raises:
        ConfigError: naming what it is.
    """
    if touched == "private":
        problem = (
            f"{name}: expected public, synthetic or no rows under a private mode, because what is computed from "
            "private rows is a release that no ledger has; got private ones"
        )
        raise ConfigError([problem])
