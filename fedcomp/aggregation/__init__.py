"""Aggregation on the server: many updates become one, a single one in memory at a time.

The private sum needs the accounting of events, which is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from fedcomp.aggregation.base import AggregationError, Aggregator
from fedcomp.aggregation.mean import ExampleWeightedMean, UniformMean
from fedcomp.aggregation.server_model import ServerModel
from fedcomp.aggregation.slices import Slices
from fedcomp.aggregation.width_mean import WidthMean
from fedcomp.lazy import loader

if TYPE_CHECKING:
    from fedcomp.aggregation.private_sum import PrivateSum

__all__ = [
    "AggregationError",
    "Aggregator",
    "ExampleWeightedMean",
    "PrivateSum",
    "ServerModel",
    "Slices",
    "UniformMean",
    "WidthMean",
]

__getattr__ = loader(__name__, {"PrivateSum": "private_sum"})
