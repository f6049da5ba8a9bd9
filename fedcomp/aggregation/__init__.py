"""Aggregation on the server: many updates become one, a single one in memory at a time."""

from fedcomp.aggregation.base import AggregationError, Aggregator
from fedcomp.aggregation.mean import ExampleWeightedMean, UniformMean
from fedcomp.aggregation.server_model import ServerModel

__all__ = ["AggregationError", "Aggregator", "ExampleWeightedMean", "ServerModel", "UniformMean"]
