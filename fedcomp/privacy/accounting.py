"""What events cost: an upper bound on epsilon by privacy loss distributions (PLD), with Renyi DP (RDP) as cross-check.

PLD after Koskela et al. 2020 and Doroshenko et al. 2022 ("connect the dots", which rounds pessimistically); RDP after
Mironov 2017. The neighboring relation is add-or-remove-one throughout. An accountant has no state: it prices a list of
events, and who keeps that list is the ledger.
"""

import functools
import logging
import math
from collections.abc import Iterable, Mapping
from typing import Literal

import dp_accounting as dp
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant

from fedcomp.logs import quieter
from fedcomp.privacy.events import DpEvent, UnsupportedEvent, flatten

Accountant = Literal["PLD", "RDP"]
NEIGHBORING_RELATION = "add_or_remove_one"

_RELATION = dp.NeighboringRelation.ADD_OR_REMOVE_ONE
_COARSE = 1e-3
_RELATIVE = 2e-4  # grid step over epsilon: rounding then costs less than one part in a thousand
_POINTS = 2**16  # about so many points in a grid at most: bounds time and memory where noise is small


def epsilon(events: Iterable[tuple[DpEvent, int]], delta: float, accountant: Accountant = "PLD") -> float:
    """Return an upper bound on epsilon at ``delta`` of all events, each with its count, composed on one subject.

    No events cost 0; anything without noise costs infinity. Equal events are merged first, so the order does not
    matter and a thousand equal rounds cost as much time as one.

    Raises:
        UnsupportedEvent: for an event that the accountant cannot price.
        ValueError: if ``delta`` is not in (0, 1).
    """
    check_delta(delta)
    return _epsilon(tuple(flatten(events).items()), delta, accountant)


def coarse_epsilon(counts: Mapping[DpEvent, int], delta: float, interval: float = _COARSE) -> float:
    """Return an upper bound on epsilon that is quick and somewhat larger; ``counts`` as ``flatten`` gives them.

    ``interval`` is the grid step wanted; where noise is so small that the grid would be huge, a larger one is used.
    """
    if not counts:
        return 0.0
    if dp.NonPrivateDpEvent() in counts:
        return math.inf
    return float(on_grid(counts, max(interval, least_interval(counts))).get_epsilon_for_delta(delta))


def on_grid(counts: Mapping[DpEvent, int], interval: float) -> pld.PrivacyLossDistribution:
    """Return the privacy loss distribution of all events on a grid of that step; noise must be above 0 in each."""
    total: pld.PrivacyLossDistribution | None = None
    for event, count in counts.items():
        one = _composed(event, count, interval)
        total = one if total is None else total.compose(one)
    return total if total is not None else pld.identity(interval)


def check_delta(delta: float) -> None:
    """Refuse a delta outside (0, 1)."""
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")


@functools.lru_cache(maxsize=4096)
def _epsilon(items: tuple[tuple[DpEvent, int], ...], delta: float, accountant: Accountant) -> float:
    counts = dict(items)
    if not counts or dp.NonPrivateDpEvent() in counts:
        return math.inf if counts else 0.0
    if accountant == "RDP":
        return _rdp_epsilon(counts, delta)
    first = coarse_epsilon(counts, delta, _COARSE)
    if math.isinf(first):
        return first
    least = least_interval(counts)
    interval = max(first * _RELATIVE, least, 1e-7)
    if interval > max(_COARSE, least) / 2:
        return first
    return min(first, float(on_grid(counts, interval).get_epsilon_for_delta(delta)))


def _rdp_epsilon(counts: Mapping[DpEvent, int], delta: float) -> float:
    accountant = RdpAccountant(neighboring_relation=_RELATION)
    for event, count in counts.items():
        if not accountant.supports(event):
            raise UnsupportedEvent(f"the RDP accountant cannot price {event}")
        with quieter("absl", logging.ERROR):  # it warns of orders that it leaves out: the bound is only larger then
            accountant.compose(event, count)
    return float(accountant.get_epsilon(delta))


def _unsampled(event: DpEvent) -> tuple[DpEvent, float]:
    """Return the event within a Poisson-sampled one, and the sampling probability; 1 if it is not sampled."""
    if isinstance(event, dp.PoissonSampledDpEvent):
        return event.event, event.sampling_probability
    return event, 1.0


def least_interval(counts: Mapping[DpEvent, int]) -> float:
    """Return the smallest grid step on which composing the events stays within reasonable time and memory."""
    single = max(_width(event) for event in counts)
    composed = math.sqrt(sum(count * min(_width(event), _deviation(event)) ** 2 for event, count in counts.items()))
    return max(single, (single + 16 * composed) / 4) / _POINTS


def _width(event: DpEvent) -> float:
    """Return about how many nats the privacy loss of one event spreads over."""
    noise = float(_unsampled(event)[0].noise_multiplier)
    return 1 / (2 * noise**2) + 10 / noise


def _deviation(event: DpEvent) -> float:
    """Return about the standard deviation of the privacy loss of one event; far too large where noise is small."""
    inner, rate = _unsampled(event)
    return float(rate) * math.sqrt(math.expm1(min(float(inner.noise_multiplier) ** -2, 700.0)))


def _composed(event: DpEvent, count: int, interval: float) -> pld.PrivacyLossDistribution:
    if isinstance(event, dp.GaussianDpEvent):  # count Gaussians are one Gaussian, exactly
        return _single(dp.GaussianDpEvent(event.noise_multiplier / math.sqrt(count)), interval)
    return _single(event, interval).self_compose(count)


@functools.lru_cache(maxsize=8)
def _single(event: DpEvent, interval: float) -> pld.PrivacyLossDistribution:
    inner, rate = _unsampled(event)
    match inner:
        case dp.GaussianDpEvent():
            return pld.from_gaussian_mechanism(
                inner.noise_multiplier,
                value_discretization_interval=interval,
                sampling_prob=rate,
                neighboring_relation=_RELATION,
            )
        case dp.LaplaceDpEvent():
            return pld.from_laplace_mechanism(
                inner.noise_multiplier, value_discretization_interval=interval, sampling_prob=rate
            )
        case _:
            raise UnsupportedEvent(f"the PLD accountant cannot price {event}")
