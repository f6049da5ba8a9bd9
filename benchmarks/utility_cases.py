"""The cases of ``benchmarks.privacy_utility``: a config each, what of it is changed, and what it has to reach.

The trusted server's hyper-parameters are the published ones of scattering features with a linear head (batch 8,192,
step 16, bound .1). Those of silos that trust nobody are a prototype's, taken as they were; test accuracy was in view
when that was made. The many clients' (step, momentum, bound, rounds) were chosen on 10,000 training rows that took no
part, with 50 rows for each of 1,000 clients. None of this is in epsilon.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedcomp.config import Config, load_config

_CONFIGS = Path(__file__).resolve().parent.parent / "configs"
_QUIET: dict[str, Any] = {"student.enabled": False, "audit.enabled": False}


@dataclass(frozen=True)
class Case:
    """One setting. ``config`` is the name of a file in ``configs/``.

    ``accuracy`` is the least the mean over seeds may be, in percent; ``seconds`` the most that training may take;
    ``lost`` the most points below the case named ``reference``, and ``fewer`` the least that fp32's bytes over the
    uplink's may be. None asks nothing.
    """

    name: str
    config: str
    changed: Mapping[str, Any] = field(default_factory=dict)
    accuracy: float | None = None
    seconds: float | None = None
    reference: str | None = None
    lost: float | None = None
    fewer: float | None = None

    def at(self, seed: int) -> Config:
        """Return the config of a run."""
        changed = {**_QUIET, **self.changed, "seed": seed}
        return load_config(_CONFIGS / f"{self.config}.toml", changed)


_EPSILON_3 = {"privacy.target_epsilon": 3.0, "clients.cohort": 300, "server.learning_rate": 0.2}

_FILLED = {"privacy.clipping_headroom": 4.0}  # what a dead zone takes away from an update's length is filled up again
_RATE, _FINER = {"id": "rate", "bits": 0.6}, {"id": "rate", "bits": 1.0}
_MASK = {"id": "released-mask", "density": 0.3, "random_share": 0.1}
_CODED: dict[str, Any] = {"reference": "clients, fp32", "lost": 0.3, "fewer": 50}

CASES = (
    Case("silos, trusted server", "trusted-server", accuracy=89.4, seconds=120),
    Case("silos, local, fp32", "silos-local", {"uplink": []}, accuracy=87.5),
    Case("silos, local", "silos-local", accuracy=87.5, reference="silos, local, fp32", lost=0.3, fewer=10),
    Case("clients, fp32", "many-clients-private", {"uplink": []}, accuracy=87.0),
    Case("clients, rate .6 bits", "many-clients-private", {**_FILLED, "uplink": [_RATE]}, **_CODED),
    Case("clients, mask, rate 1 bit", "many-clients-private", {**_FILLED, "uplink": [_MASK, _FINER]}, **_CODED),
    Case("clients, epsilon 3, fp32", "many-clients-private", {"uplink": [], **_EPSILON_3}, accuracy=84.5),
)
"""What is measured, references first."""
