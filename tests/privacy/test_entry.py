"""What a line charges: its fields, its JSON, and what is refused."""

import dp_accounting as dp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcomp.privacy import Charge
from fedcomp.privacy.entry import Details


def test_details_are_the_fields_of_a_charge():
    assert set(Details.__annotations__) == set(Charge.__dataclass_fields__) - {"subject", "event"}


@settings(deadline=None, max_examples=100)
@given(st.text(min_size=1, max_size=50), st.text(max_size=50), st.floats(0, 1e300), st.integers(0, 10**9))
def test_any_charge_comes_back(subject, run, noise_std, server_round):
    charge = Charge(subject, dp.GaussianDpEvent(noise_std), run=run, server_round=server_round, noise_std=noise_std)
    assert Charge.from_json(charge.to_json()) == charge
    assert charge.key == (subject, run, server_round, "update")


@pytest.mark.parametrize(
    "change",
    [
        {"subject": ""},
        {"subject": "x" * 2000},
        {"run": 5},
        {"count": 0},
        {"count": True},
        {"count": 1.0},
        {"server_round": -1},
        {"noise_std": -0.1},
        {"noise_std": float("inf")},
        {"sensitivity": float("nan")},
    ],
)
def test_refusals(change):
    details = {"subject": "s", "event": dp.NoOpDpEvent(), "run": "r", "server_round": 1, **change}
    with pytest.raises(ValueError, match=next(iter(change))):
        Charge(**details)
