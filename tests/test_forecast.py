"""What a plan says before a run, against what the run then does."""

import pytest

from fedcomp.config import config_from_dict
from fedcomp.forecast import forecast
from fedcomp.plan import make_plan
from fedcomp.simulation import simulate
from runs_for_cli import PRIVATE


def test_the_forecast_is_what_the_run_costs(tmp_path):
    config = config_from_dict(PRIVATE)
    facts = forecast(make_plan(config))
    summary = simulate(config, out=tmp_path / "run").summary
    updates = config.rounds * config.clients.population
    assert facts["uplink_bytes_per_update"] == pytest.approx(summary["uplink_bytes"] / updates, rel=0.15)
    assert facts["epsilon_by_round"][-1] == pytest.approx(summary["epsilon"]["value"])
    assert facts["noise_multiplier"] > 0


def test_without_privacy_none_is_claimed():
    facts = forecast(make_plan(config_from_dict({"task": "digits", "student": {"enabled": False}})))
    assert facts["privacy"] == "none is claimed"
    assert "noise_multiplier" not in facts
