"""The applications: which run each row of the table is made from, and what it has to reach.

Every speed-up is against ONNX Runtime at fp32 of the same dense model, same batch, same thread; the one in brackets of
the goals is against PyTorch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedcomp.config import Config, load_config

_CONFIGS = Path(__file__).resolve().parent.parent / "configs"


@dataclass(frozen=True)
class Aim:
    """What a batch size has to reach: speed against ONNX Runtime at fp32 and against PyTorch."""

    batch: int
    speed_up: float
    eager_speed_up: float


@dataclass(frozen=True)
class Application:
    """One row. ``loss`` is the most points that may be lost; ``file`` the largest share of the dense model's file."""

    name: str
    config: str
    aims: tuple[Aim, ...]
    loss: float
    auc_loss: float | None = None
    file: float | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    def at(self, seed: int) -> Config:
        """Return the run's config."""
        return load_config(_CONFIGS / f"{self.config}.toml", {"student.enabled": False, **self.changed, "seed": seed})


def _both(name: str, config: str, aims: tuple[Aim, ...], loss: float, **goals: Any) -> tuple[Application, ...]:
    plain = Application(name, config, aims, loss, **goals)
    return plain, Application(f"{name}, private", f"{config}-private", aims, loss, **goals)


APPLICATIONS = (
    *_both("medical image", "medical", (Aim(1, 5, 12),), 1.0, auc_loss=0.01, file=0.10),
    *_both("edge image, ResNet", "fashion-resnet", (Aim(1, 5, 15),), 1.0),
    Application("edge image, MobileNet", "fashion-mobilenet", (Aim(1, 4, 18),), 1.5),
    *_both("glyphs", "glyphs", (Aim(1, 5, 15),), 1.0),
    Application("speech, DS-CNN", "speech", (Aim(1, 4, 7),), 1.0),
    # no private row: what is federated in speech-private.toml is a linear head, smaller than any network here
    Application("speech, conv-GRU", "speech-initials", (Aim(1, 3, 10),), 1.0),
    *_both("financial risk", "risk", (Aim(1024, 8, 10), Aim(1, 2.5, 6)), 1.0, auc_loss=0.005),
    *_both("health sensors", "sensors", (Aim(1, 4, 7),), 1.0),
)
"""Every row but translation, which ``benchmarks.translation`` measures."""
