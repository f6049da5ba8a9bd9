"""Events as data: JSON and back to the last bit, one multiset of elementary events, and refusals by name."""

import json

import dp_accounting as dp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.privacy import UnsupportedEvent, event_from_json, event_to_json
from fedcomp.privacy.events import canonical_json, flatten

noises = st.floats(0, 1e6, allow_nan=False)
leaves = st.one_of(
    st.just(dp.NoOpDpEvent()),
    st.just(dp.NonPrivateDpEvent()),
    noises.map(dp.GaussianDpEvent),
    noises.map(dp.LaplaceDpEvent),
    st.builds(dp.PoissonSampledDpEvent, st.floats(0, 1), noises.map(dp.GaussianDpEvent)),
    st.builds(dp.PoissonSampledDpEvent, st.floats(0, 1), noises.map(dp.LaplaceDpEvent)),
)
events = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(dp.SelfComposedDpEvent, inner, st.integers(0, 1000)),
        st.builds(dp.ComposedDpEvent, st.lists(inner, max_size=3)),
    ),
    max_leaves=5,
)


@settings(deadline=None, max_examples=150)
@given(events)
def test_json_comes_back_to_the_last_bit(event):
    text = canonical_json(event_to_json(event))
    back = event_from_json(json.loads(text))
    assert back == event
    assert canonical_json(event_to_json(back)) == text


def test_the_json_is_what_the_format_says():
    event = dp.SelfComposedDpEvent(dp.PoissonSampledDpEvent(0.25, dp.GaussianDpEvent(4)), 2)
    assert event_to_json(event) == {
        "kind": "self_composed",
        "count": 2,
        "event": {
            "kind": "poisson_sampled",
            "sampling_probability": "0x1.0000000000000p-2",
            "event": {"kind": "gaussian", "noise_multiplier": "0x1.0000000000000p+2"},
        },
    }


@pytest.mark.parametrize(
    "event",
    [
        dp.UnsupportedDpEvent(),
        dp.RandomizedResponseDpEvent(0.1, 4),
        dp.ZCDpEvent(1.0),
        dp.SampledWithoutReplacementDpEvent(100, 10, dp.GaussianDpEvent(1.0)),
        dp.PoissonSampledDpEvent(0.1, dp.UnsupportedDpEvent()),
        dp.PoissonSampledDpEvent(0.1, dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 2)),
        dp.PoissonSampledDpEvent(1.1, dp.GaussianDpEvent(1.0)),
        dp.PoissonSampledDpEvent(float("nan"), dp.GaussianDpEvent(1.0)),
        dp.GaussianDpEvent(-1.0),
        dp.GaussianDpEvent(float("inf")),
        dp.GaussianDpEvent(float("nan")),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), -1),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), 1.5),
        dp.SelfComposedDpEvent(dp.GaussianDpEvent(1.0), True),
        "gaussian",
        None,
    ],
)
def test_what_cannot_be_priced_is_refused(event):
    for wrapped in (event, dp.ComposedDpEvent([dp.GaussianDpEvent(1.0), event])):
        with pytest.raises(UnsupportedEvent):
            event_to_json(wrapped)
        with pytest.raises(UnsupportedEvent):
            flatten([(wrapped, 1)])


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"kind": "unknown"},
        {"kind": "gaussian"},
        {"kind": "gaussian", "noise_multiplier": 1.0},
        {"kind": "gaussian", "noise_multiplier": "one"},
        {"kind": "gaussian", "noise_multiplier": "nan"},
        {"kind": "gaussian", "noise_multiplier": "0x1p0"},
        {"kind": "gaussian", "noise_multiplier": "-0x1.0000000000000p+0"},
        {"kind": "gaussian", "noise_multiplier": "0x1.0000000000000p+0", "more": 1},
        {"kind": "no_op", "more": 1},
        {"kind": "self_composed", "count": True, "event": {"kind": "no_op"}},
        {"kind": "self_composed", "count": 2.0, "event": {"kind": "no_op"}},
        {"kind": "poisson_sampled", "sampling_probability": "0x1.0000000000000p-1", "event": {"kind": "no_op"}},
        {"kind": "composed", "events": [1]},
        [],
    ],
)
def test_other_json_is_refused(tree):
    with pytest.raises(UnsupportedEvent):
        event_from_json(tree)


def test_deep_nesting_is_refused_not_overflowed():
    event, tree = dp.NoOpDpEvent(), {"kind": "no_op"}
    for _ in range(5000):
        event, tree = dp.SelfComposedDpEvent(event, 1), {"kind": "self_composed", "count": 1, "event": tree}
    with pytest.raises(UnsupportedEvent, match="nest"):
        event_to_json(event)
    with pytest.raises(UnsupportedEvent, match="nest"):
        event_from_json(tree)
    with pytest.raises(UnsupportedEvent, match="nest"):
        flatten([(event, 1)])


def test_flatten_merges_equal_events_and_multiplies_every_count():
    step = dp.PoissonSampledDpEvent(0.1, dp.GaussianDpEvent(1))
    nested = dp.ComposedDpEvent([dp.SelfComposedDpEvent(step, 3), dp.GaussianDpEvent(2.0), dp.NoOpDpEvent()])
    same = dp.PoissonSampledDpEvent(np.float64(0.1), dp.GaussianDpEvent(1.0))
    assert flatten([(nested, 5), (same, 1)]) == {step: 16, dp.GaussianDpEvent(2.0): 5}


def test_flatten_is_canonical():
    one, two = dp.GaussianDpEvent(1.0), dp.GaussianDpEvent(2.0)
    assert list(flatten([(one, 1), (two, 1)]).items()) == list(flatten([(two, 1), (one, 1)]).items())


@pytest.mark.parametrize(
    "event",
    [dp.GaussianDpEvent(0), dp.LaplaceDpEvent(0.0), dp.PoissonSampledDpEvent(0.5, dp.GaussianDpEvent(0.0))],
)
def test_no_noise_is_not_private(event):
    assert flatten([(event, 2)]) == {dp.NonPrivateDpEvent(): 2}


def test_what_costs_nothing_does_not_show():
    never = dp.PoissonSampledDpEvent(0.0, dp.GaussianDpEvent(0.0))
    assert flatten([(dp.NoOpDpEvent(), 5), (dp.GaussianDpEvent(1.0), 0), (never, 3)]) == {}


def test_a_negative_count_is_refused():
    with pytest.raises(UnsupportedEvent, match="must not be negative, got -1"):
        flatten([(dp.GaussianDpEvent(1.0), -1)])
