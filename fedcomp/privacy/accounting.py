"""What events cost: an upper bound on epsilon by privacy loss distributions (PLD), with Renyi DP (RDP) as cross-check.

PLD after Koskela et al. 2020 and Doroshenko et al. 2022 ("connect the dots", which rounds pessimistically); RDP after
Mironov 2017. The neighboring relation is add-or-remove-one throughout. An accountant has no state: it prices a list of
events, and who keeps that list is the ledger.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Literal

import dp_accounting as dp
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant

from fedcomp.privacy.events import Event, UnsupportedEvent, flatten

Accountant = Literal["PLD", "RDP"]
NEIGHBORING_RELATION = "add_or_remove_one"

_RELATION = dp.NeighboringRelation.ADD_OR_REMOVE_ONE
_COARSE = 1e-3
_RELATIVE = 5e-5  # grid step over epsilon: rounding then costs less than one part in ten thousand
_POINTS = 2**17  # a coarse grid has about so many points, a fine one twice as many: bounds time and memory


def epsilon(events: Iterable[tuple[Event, int]], delta: float, accountant: Accountant = "PLD") -> float:
    """Return an upper bound on epsilon at ``delta`` of all events, each with its count, composed on one subject.

    No events cost 0; anything without noise costs infinity. Equal events are merged first, so the order does not
    matter and a thousand equal rounds cost as much time as one.

    Raises:
        UnsupportedEvent: for an event that the accountant cannot price.
        ValueError: if ``delta`` is not in (0, 1).
    """
    check_delta(delta)
    return _epsilon(tuple(flatten(events).items()), delta, accountant)


def coarse_epsilon(counts: Mapping[Event, int], delta: float) -> float:
    """Return an upper bound on epsilon that is quick and somewhat larger; ``counts`` as ``flatten`` gives them."""
    if not counts:
        return 0.0
    if dp.NonPrivateDpEvent() in counts:
        return math.inf
    return on_grid(counts, _coarse_interval(counts)).get_epsilon_for_delta(delta)  # type: ignore[no-any-return]


def on_grid(counts: Mapping[Event, int], interval: float) -> pld.PrivacyLossDistribution:
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
def _epsilon(items: tuple[tuple[Event, int], ...], delta: float, accountant: Accountant) -> float:
    counts = dict(items)
    if not counts or dp.NonPrivateDpEvent() in counts:
        return math.inf if counts else 0.0
    if accountant == "RDP":
        return _rdp_epsilon(counts, delta)
    first = coarse_epsilon(counts, delta)
    if math.isinf(first):
        return first
    interval = max(first * _RELATIVE, _spread(counts) / (2 * _POINTS), 1e-7)
    if interval > _coarse_interval(counts) / 2:
        return first
    return min(first, on_grid(counts, interval).get_epsilon_for_delta(delta))


def _rdp_epsilon(counts: Mapping[Event, int], delta: float) -> float:
    accountant = RdpAccountant(neighboring_relation=_RELATION)
    for event, count in counts.items():
        if not accountant.supports(event):
            raise UnsupportedEvent(f"the RDP accountant cannot price {event}")
        accountant.compose(event, count)
    return float(accountant.get_epsilon(delta))


def _spread(counts: Mapping[Event, int]) -> float:
    """Return about how many nats the privacy loss of the widest single event spreads over."""
    noises = [getattr(event, "event", event).noise_multiplier for event in counts]
    return max(1 / (2 * noise**2) + 10 / noise for noise in noises)


def _coarse_interval(counts: Mapping[Event, int]) -> float:
    return max(_COARSE, _spread(counts) * math.sqrt(sum(counts.values())) / _POINTS)


def _composed(event: Event, count: int, interval: float) -> pld.PrivacyLossDistribution:
    if isinstance(event, dp.GaussianDpEvent):  # count Gaussians are one Gaussian, exactly
        return _single(dp.GaussianDpEvent(event.noise_multiplier / math.sqrt(count)), interval)
    return _single(event, interval).self_compose(count)


@functools.lru_cache(maxsize=8)
def _single(event: Event, interval: float) -> pld.PrivacyLossDistribution:
    inner, rate = (event.event, event.sampling_probability) if hasattr(event, "event") else (event, 1.0)
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
