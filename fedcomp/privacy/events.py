"""Privacy events: what happened, as data. What it costs is computed by somebody else (``accounting``).

A ``DpEvent`` is that of ``dp_accounting``. Here it is turned into canonical JSON and back without losing a bit, and
taken apart into the multiset of elementary events that every accountant composes.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import dp_accounting as dp

from fedcomp.errors import FedcompError

DpEvent: TypeAlias = Any  # dp_accounting.DpEvent; the library carries no types
JsonEvent: TypeAlias = dict[str, Any]

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_MAX_DEPTH = 16  # of nested events; ours nest two deep, a ledger that nests more is not ours


class UnsupportedEvent(FedcompError):
    """An event that nothing here can account for; accepting it would make every later epsilon wrong."""


def event_to_json(event: DpEvent) -> JsonEvent:
    """Return the event as a JSON object whose floats are hexadecimal texts, so that they come back to the last bit.

    Raises:
        UnsupportedEvent: for a kind or a parameter that no accountant here can price.
    """
    return _to_json(event, _MAX_DEPTH)


def event_from_json(tree: JsonEvent) -> DpEvent:
    """Return the event that ``event_to_json`` wrote.

    Raises:
        UnsupportedEvent: for anything that it would not have written.
    """
    return _from_json(tree, _MAX_DEPTH)


def flatten(events: Iterable[tuple[DpEvent, int]]) -> dict[DpEvent, int]:
    """Return how often each elementary event happened in all, in canonical order; equal events are merged.

    This is the only place where a count is multiplied, so that no branch of an accountant can forget it
    (dp-accounting 0.6.0 does in one). Noise of zero comes out as ``NonPrivateDpEvent`` and a no-op not at all.

    Raises:
        UnsupportedEvent: as ``event_to_json``; also for a negative count.
    """
    counts: dict[DpEvent, int] = {}
    for event, count in events:
        if count < 0:
            raise UnsupportedEvent(f"count of an event must not be negative, got {count}")
        _walk(event, count, counts, _MAX_DEPTH)
    return dict(sorted(counts.items(), key=lambda item: canonical_json(event_to_json(item[0]))))


def canonical_json(tree: Mapping[str, Any]) -> str:
    """Return JSON with sorted keys, no spaces and ASCII alone: equal trees give equal texts, on every platform."""
    return _ENCODER.encode(tree)


def _walk(event: DpEvent, count: int, counts: dict[DpEvent, int], depth: int) -> None:
    _check_depth(depth)
    match event:
        case dp.NoOpDpEvent():
            return
        case dp.SelfComposedDpEvent():
            _walk(event.event, count * _natural(event.count), counts, depth - 1)
        case dp.ComposedDpEvent():
            for inner in event.events:
                _walk(inner, count, counts, depth - 1)
        case _:
            elementary = event_from_json(event_to_json(event))  # refuses what cannot be priced; 1 and 1.0 become one
            if count and not _never_sampled(elementary):
                elementary = dp.NonPrivateDpEvent() if _noiseless(elementary) else elementary
                counts[elementary] = counts.get(elementary, 0) + count


def _never_sampled(event: DpEvent) -> bool:
    return isinstance(event, dp.PoissonSampledDpEvent) and event.sampling_probability == 0


def _noiseless(event: DpEvent) -> bool:
    if isinstance(event, dp.PoissonSampledDpEvent):
        return _noiseless(event.event)
    return isinstance(event, dp.NonPrivateDpEvent) or event.noise_multiplier == 0


def _to_json(event: DpEvent, depth: int) -> JsonEvent:
    _check_depth(depth)
    match event:
        case dp.NoOpDpEvent():
            return {"kind": "no_op"}
        case dp.NonPrivateDpEvent():
            return {"kind": "non_private"}
        case dp.GaussianDpEvent():
            return {"kind": "gaussian", "noise_multiplier": _noise(event.noise_multiplier).hex()}
        case dp.LaplaceDpEvent():
            return {"kind": "laplace", "noise_multiplier": _noise(event.noise_multiplier).hex()}
        case dp.PoissonSampledDpEvent():
            if not isinstance(event.event, dp.GaussianDpEvent | dp.LaplaceDpEvent | dp.NonPrivateDpEvent):
                raise UnsupportedEvent(f"a Poisson-sampled event must be Gaussian or Laplace, got {event.event}")
            rate = _probability(event.sampling_probability).hex()
            return {"kind": "poisson_sampled", "sampling_probability": rate, "event": _to_json(event.event, depth - 1)}
        case dp.SelfComposedDpEvent():
            inner = _to_json(event.event, depth - 1)
            return {"kind": "self_composed", "count": _natural(event.count), "event": inner}
        case dp.ComposedDpEvent():
            return {"kind": "composed", "events": [_to_json(inner, depth - 1) for inner in event.events]}
        case _:
            raise UnsupportedEvent(f"no accountant here can price {event!r}")


def _from_json(tree: JsonEvent, depth: int) -> DpEvent:
    _check_depth(depth)
    match tree:
        case {"kind": "no_op", **rest} if not rest:
            return dp.NoOpDpEvent()
        case {"kind": "non_private", **rest} if not rest:
            return dp.NonPrivateDpEvent()
        case {"kind": "gaussian", "noise_multiplier": str(noise), **rest} if not rest:
            return dp.GaussianDpEvent(_noise(unhex(noise)))
        case {"kind": "laplace", "noise_multiplier": str(noise), **rest} if not rest:
            return dp.LaplaceDpEvent(_noise(unhex(noise)))
        case {"kind": "poisson_sampled", "sampling_probability": str(rate), "event": dict(inner), **rest} if not rest:
            event = dp.PoissonSampledDpEvent(_probability(unhex(rate)), _from_json(inner, depth - 1))
            _to_json(event, depth)  # refuses what may not be sampled
            return event
        case {"kind": "self_composed", "count": count, "event": dict(inner), **rest} if not rest:
            return dp.SelfComposedDpEvent(_from_json(inner, depth - 1), _natural(count))
        case {"kind": "composed", "events": list(inner), **rest} if not rest:
            return dp.ComposedDpEvent([_from_json(part, depth - 1) for part in inner])
        case _:
            raise UnsupportedEvent(f"expected the JSON of an event, got {str(tree)[:200]}")


def _check_depth(depth: int) -> None:
    if depth <= 0:
        raise UnsupportedEvent(f"events may nest at most {_MAX_DEPTH} deep")


def unhex(text: str) -> float:
    """Return the float whose ``hex()`` is ``text``; raises ``UnsupportedEvent`` for any other text."""
    try:
        value = float.fromhex(text)
    except (ValueError, OverflowError) as error:
        raise UnsupportedEvent(f"expected a hexadecimal float, got {text[:40]!r}") from error
    if value.hex() != text:
        raise UnsupportedEvent(f"expected the canonical {value.hex()!r}, got {text[:40]!r}")
    return value


def _noise(value: Any) -> float:
    number = float(value)
    if not (math.isfinite(number) and number >= 0):
        raise UnsupportedEvent(f"noise_multiplier must be finite and not negative, got {value!r}")
    return number


def _probability(value: Any) -> float:
    number = float(value)
    if not 0 <= number <= 1:
        raise UnsupportedEvent(f"sampling_probability must be in [0, 1], got {value!r}")
    return number


def _natural(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UnsupportedEvent(f"count must be a whole number that is not negative, got {value!r}")
    return value
