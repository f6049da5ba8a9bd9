"""Steps by id: the ways to make a model smaller that a config can name."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fedcomp.errors import ConfigError
from fedcomp.shrink.base import Step
from fedcomp.shrink.clustering import Clusters
from fedcomp.shrink.distillation.recover import Distil
from fedcomp.shrink.low_rank import LowRank
from fedcomp.shrink.pruning.by_layer import ChannelsByLayer, HeadsByLayer
from fedcomp.shrink.pruning.channels import Channels, TaylorChannels
from fedcomp.shrink.pruning.depth import Depth
from fedcomp.shrink.pruning.heads import Heads
from fedcomp.shrink.pruning.patterns import Blocks, NofM
from fedcomp.shrink.pruning.recurrent import RecurrentUnits
from fedcomp.shrink.pruning.weights import TaylorWeights, Weights
from fedcomp.shrink.quantization_aware import QuantizationAware

STEPS: dict[str, type[Step]] = {
    "blocks": Blocks,
    "channels": Channels,
    "channels-by-layer": ChannelsByLayer,
    "channels-taylor": TaylorChannels,
    "cluster": Clusters,
    "depth": Depth,
    "distil": Distil,
    "heads": Heads,
    "heads-by-layer": HeadsByLayer,
    "low-rank": LowRank,
    "n-of-m": NofM,
    "quantization-aware": QuantizationAware,
    "recurrent": RecurrentUnits,
    "weights": Weights,
    "weights-taylor": TaylorWeights,
}
"""Every step by its id. A new one is a file and a line here."""


def step_from_config(config: Mapping[str, Any]) -> Step:
    """Return the step that ``config``, ``{"id": ..., option: value}``, describes; options left out have defaults.

    Raises:
        ConfigError: for an unknown id or option, or a value that the step refuses, naming it.
    """
    options = dict(config)
    name = options.pop("id", None)
    if name not in STEPS:
        raise ConfigError([f"id: expected one of {', '.join(sorted(STEPS))}, got {name!r}"])
    known = [field.name for field in fields(STEPS[name])]
    if unknown := sorted(set(options) - set(known)):
        raise ConfigError([f"{name}.{unknown[0]}: expected one of the options {', '.join(known) or '(none)'}"])
    try:
        return STEPS[name](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError([f"{name}: {error}"]) from error
