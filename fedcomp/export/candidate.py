"""One way to ship a model: how it is made smaller, in what numbers, for which runtime; and what was measured of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedcomp.shrink.base import Step


@dataclass(frozen=True)
class Recipe:
    """How a model is made smaller, by steps: from the dense one (``origin``), or the task's ``student``.

    ``after`` names another recipe, whose result this one goes on from. ``formats`` are the number formats that what it
    makes is for; all that are tried if None.
    """

    name: str
    steps: tuple[Step, ...] = ()
    origin: str = "dense"
    after: str | None = None
    formats: frozenset[str] | None = None


@dataclass(frozen=True)
class Measured:
    """What one candidate is and does.

    ``accuracy`` is the task's metric on public rows that took no part in making it; ``accuracy_loss`` what is lost
    against the dense model on the same rows, in points, with the bounds of its 95 % interval; ``latency_ms`` the median
    time of one batch; ``speed_up`` the dense model's time in ONNX Runtime at fp32 over it, ``eager_speed_up`` the dense
    model's in PyTorch, both medians of ratios taken side by side; ``output_error`` the relative L2 distance of the
    file's outputs from those of the module that it was made from.
    """

    name: str
    recipe: str
    runtime: str
    number_format: str
    bytes: int
    latency_ms: float
    speed_up: float
    eager_speed_up: float
    accuracy: float
    accuracy_loss: float
    loss_interval: tuple[float, float]
    output_error: float
    touched: tuple[tuple[Mapping[str, Any], str], ...] = ()
    """Each step's config, the calibration last, and whose rows it read."""

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)
