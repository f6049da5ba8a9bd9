"""A client's own policy: what a run must keep to, or this client does not join it, whatever the server asks for.

It is a TOML file on the device, named by ``policy-file`` in the node config. It is read again for every message, and
checked before a task is loaded. A rule that is left out asks for nothing.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedcomp.config import Config
from fedcomp.errors import ConfigError
from fedcomp.privacy import Budget

Mode = Literal["none", "local", "central", "distributed"]


class Policy(BaseModel):
    """The rules; each is named in the refusal of a run that breaks it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    modes: list[Mode] | None = None
    """Privacy modes that are joined."""
    min_noise_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Least noise over the bound, in every mode but ``none``."""
    max_epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """What this client's rows may cost over all runs, by this client's own ledger: mode ``local`` alone is joined."""
    max_delta: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Largest delta at which an epsilon counts."""
    codecs: list[str] | None = None
    """Stages that an update may go through."""
    tasks: list[str] | None = None
    """Tasks that are trained; others are not even loaded."""
    require_envelope: bool = False
    """Whether payloads must be sealed."""

    def problems(self, config: Config) -> list[str]:
        """Return a sentence for each rule that a run's config breaks; none if it may be joined."""
        found, privacy = [], config.privacy
        if self.tasks is not None and config.task not in self.tasks:
            found.append(f"tasks: expected one of {self.tasks}, got {config.task!r}")
        if self.modes is not None and privacy.mode not in self.modes:
            found.append(f"modes: expected one of {self.modes}, got {privacy.mode!r}")
        if self.require_envelope and not config.envelope.enabled:
            found.append("require_envelope: expected sealed payloads, got envelope.enabled = false")
        stages = [str(stage.get("id")) for stage in config.uplink]
        if self.codecs is not None and (others := [stage for stage in stages if stage not in self.codecs]):
            found.append(f"codecs: expected stages among {self.codecs}, got {others}")
        return found + (self._of_privacy(config) if privacy.mode != "none" else self._of_none())

    def budget(self, asked: Budget | None, delta: float) -> Budget | None:
        """Return the smaller of what a run asks to spend at most and what this policy allows."""
        if self.max_epsilon is None:
            return asked
        return Budget(min(self.max_epsilon, asked.target_epsilon if asked else self.max_epsilon), delta)

    def _of_privacy(self, config: Config) -> list[str]:
        found, privacy = [], config.privacy
        noise = privacy.noise_multiplier or 0.0
        if self.min_noise_multiplier is not None and noise < self.min_noise_multiplier:
            found.append(f"min_noise_multiplier: expected at least {self.min_noise_multiplier:g}, got {noise:g}")
        if self.max_epsilon is not None and privacy.mode != "local":
            # what another mode costs is in the server's ledger, which cannot be held against this device's other runs
            found.append(
                f"max_epsilon: expected mode local, which this client's own ledger counts, got {privacy.mode!r}"
            )
        if self.max_delta is not None and privacy.delta > self.max_delta:
            found.append(f"max_delta: expected at most {self.max_delta:g}, got {privacy.delta:g}")
        return found

    def _of_none(self) -> list[str]:
        rules = {"min_noise_multiplier": self.min_noise_multiplier, "max_epsilon": self.max_epsilon}
        return [
            f"{name}: expected a private mode that keeps to {value:g}, got mode 'none'"
            for name, value in rules.items()
            if value is not None
        ]


NO_POLICY = Policy()
"""Asks for nothing."""


def load_policy(path: Path) -> Policy:
    """Return the policy in a TOML file.

    Raises:
        ConfigError: if there is no such file, or it holds anything but rules; without its policy a client joins none.
    """
    try:
        return Policy.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError([f"cannot read the policy: {error.strerror}"], source=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"not a TOML file: {error}"], source=str(path)) from error
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise ConfigError(problems, source=str(path)) from error
