"""What a client's link carries, as the server measures it."""

import pytest
from runs import private

from fedcomp.errors import ConfigError
from fedcomp.flower.links import Link
from fedcomp.plan import make_plan


def test_a_rate_is_bytes_over_the_time_that_was_not_computed():
    link = Link().observe(1000, elapsed=3.0, busy=1.0)
    assert link.bytes_per_second == 500
    assert link.max_bytes(4.0) == 2000


def test_rates_are_smoothed():
    link = Link().observe(1000, 1.0, 0.0).observe(3000, 1.0, 0.0)
    assert link.bytes_per_second == 2000


@pytest.mark.parametrize("busy", [-1.0, 1.0, 5.0, float("nan"), float("inf")])
def test_a_claim_that_cannot_be_is_ignored(busy: float):
    link = Link().observe(1000, 1.0, 0.0)
    assert link.observe(9000, 1.0, busy) == link


def test_nothing_is_limited_before_a_measurement_or_without_a_wish():
    assert Link().max_bytes(3.0) is None
    assert Link(100.0).max_bytes(None) is None
    assert Link(1e-9).max_bytes(1.0) == 1


def test_a_private_client_does_not_say_how_long_it_trains():
    with pytest.raises(ConfigError, match=r"server.upload_seconds: expected none under mode local"):
        make_plan(private(server={"upload_seconds": 3.0}))
