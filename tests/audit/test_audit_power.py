"""The benchmark of the audit's power: what it simulates is the mechanism, and its goals can be missed."""

from dataclasses import replace

import numpy as np

from benchmarks import audit_power
from benchmarks.audit_power import EXACT, EXAMPLES, WRONGS, audits, observe

SMALL = replace(EXAMPLES, rounds=40, canaries=3000, sampling_probability=0.3)


def test_what_is_observed_is_noise_and_the_canary():
    """Means and deviations within five standard errors, seeded."""
    observed, held_in = observe(SMALL, EXACT, np.random.default_rng(0))
    noise, error = SMALL.noise_multiplier, SMALL.noise_multiplier / np.sqrt(observed[:, held_in].size)
    assert abs(observed[:, held_in].mean() - 0.3) < 5 * error
    assert abs(observed[:, ~held_in].mean()) < 5 * error
    assert abs(observed[:, ~held_in].std() / noise - 1) < 5 / np.sqrt(observed.size)
    wrong = {one.name: observe(SMALL, one, np.random.default_rng(0))[0] for one in WRONGS}
    assert abs(wrong["noise / 2"][:, ~held_in].std() / noise - 0.5) < 0.02
    assert abs(wrong["sensitivity x 2"][:, held_in].mean() - 0.6) < 5 * error
    assert abs(wrong["probability x 2"][:, held_in].mean() - 0.6) < 5 * error
    assert abs(wrong["no canary effect"][:, held_in].mean()) < 5 * error


def test_rows_and_goals():
    rows = []
    for wrong in (EXACT, WRONGS[-1]):
        found, seconds = audits(SMALL, wrong, 2)
        rows.append(audit_power._one_run_row(SMALL, wrong, found) | {"seconds": seconds})
    assert rows[0]["gaussian_pair"] > rows[1]["gaussian_pair"] == 0
    steps = [{"exact": 0.99}, {"exact": 0.96}]
    assert not [goal for goal in audit_power._goals(rows, steps) if "false alarms" in goal.text and goal.value > 0]
    missed = [
        goal.text
        for goal in audit_power._goals([rows[0] | {"f_dp_refuted": 1.0}, rows[1]], [{"exact": 0.9}])
        if goal.verdict() != "holds"
    ]
    assert any(text.startswith("step") for text in missed)
    assert any(text.startswith("f_dp: false alarms") for text in missed)
