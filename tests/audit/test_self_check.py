"""The auditor's own checks: a sound auditor passes, and one that finds nothing, or counts wrongly, does not."""

import dataclasses

import dp_accounting as dp
import numpy as np

from fedcomp.audit import self_check
from fedcomp.audit.self_check import check_accounting, check_planted, check_tightness
from fedcomp.audit.step_bound import step_audit
from fedcomp.privacy import epsilon

NOISE, SAMPLES, CONFIDENCE = 2.0, 100_000, 1 - 1e-5
EVENT = dp.GaussianDpEvent(NOISE)


def measured():
    rng = np.random.default_rng(0)
    out, in_ = rng.normal(0, NOISE, SAMPLES), rng.normal(1, NOISE, SAMPLES)
    return step_audit(out, in_, 1e-5, CONFIDENCE, rng, EVENT)


def test_bounds_that_come_near_pass_and_weak_ones_do_not():
    found = measured()
    assert check_tightness(found, EVENT, NOISE).holds
    weak = dataclasses.replace(found, epsilon_lower_bound=0.5 * found.epsilon_lower_bound)
    assert not check_tightness(weak, EVENT, NOISE).holds


def test_too_few_canaries_for_so_much_noise_are_not_covered():
    few = dataclasses.replace(measured(), num_with=1000)
    assert check_tightness(few, EVENT, NOISE).verdict == "not covered"


def test_a_planted_fault_is_found_and_an_auditor_that_sees_nothing_is_too(monkeypatch):
    assert check_planted(EVENT, NOISE, SAMPLES, CONFIDENCE).holds

    def blind(*arguments):
        found = step_audit(*arguments)
        return dataclasses.replace(found, epsilon_lower_bound=0.0, epsilon_gaussian_pair=0.0, violation=None)

    monkeypatch.setattr(self_check, "step_audit", blind)
    assert not check_planted(EVENT, NOISE, SAMPLES, CONFIDENCE).holds


def test_an_auditor_that_accuses_everybody_is_found(monkeypatch):
    def jumpy(*arguments):
        return dataclasses.replace(step_audit(*arguments), epsilon_lower_bound=100.0)

    monkeypatch.setattr(self_check, "step_audit", jumpy)
    assert not check_planted(EVENT, NOISE, SAMPLES, CONFIDENCE).holds


def test_an_accountant_that_is_off_is_found(monkeypatch):
    assert check_accounting().holds
    monkeypatch.setattr(self_check, "epsilon", lambda events, delta: 1.02 * epsilon(events, delta))
    assert not check_accounting().holds
